"""`use`: middleware around all handlers of an endpoint or a lobby, by the context it asks for."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    JoinContext,
    LeaveContext,
    Lobby,
    Next,
    OutgoingContext,
    PondError,
    PondSocket,
    SyncEventContext,
    UsageError,
)
from pondsocket._contexts import GatewayContext
from pondsocket.testing import ConnectionRefused, connect

from tests.core.groups import accept, ask, noting, noting_joins
from tests.core.ponds import admit


async def done(ctx: EventContext) -> str:
    return "done"


def build() -> tuple[PondSocket, Endpoint, Lobby]:
    """Return a pond that answers the event `ask`, at the endpoint and in a channel."""
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/chat", accept)
    endpoint.on_message("ask", done)
    lobby.on_message("ask", done)
    return pond, endpoint, lobby


C = TypeVar("C", bound=EventContext)
D = TypeVar("D", EventContext, JoinContext)
Mixed = EventContext | JoinContext


def typed(log: list[str], hint: Any) -> Any:
    """Return middleware whose context is annotated so."""

    async def middleware(ctx: Any, next: Next) -> object:  # noqa: A002
        log.append(type(ctx).__name__.removesuffix("Context"))
        return await next()

    middleware.__annotations__["ctx"] = hint
    return middleware


# What middleware with this annotation is called for, of an endpoint and of a lobby; None: an error.
USES: dict[str, tuple[Any, list[str] | None, list[str] | None]] = {
    "untyped": (Any, ["Connection"], ["Event"]),
    "object": (object, ["Connection"], ["Event"]),
    "connections": (ConnectionContext, ["Connection"], None),
    "events": (EventContext, ["Event", "Gateway"], ["Event"]),
    "events of the endpoint": (GatewayContext, ["Gateway"], None),
    "joins": (JoinContext, ["Join"], ["Join"]),
    "several": (Mixed, ["Join", "Event", "Gateway"], ["Join", "Event"]),
    "all": (ConnectionContext | Mixed, ["Connection", "Join", "Event", "Gateway"], None),
    "a variable": (C, ["Event", "Gateway"], ["Event"]),
    "a variable of two": (D, ["Join", "Event", "Gateway"], ["Join", "Event"]),
    "a string": ("EventContext", ["Event", "Gateway"], ["Event"]),
    "leaves": (LeaveContext, None, None),
    "outgoing": (OutgoingContext, None, None),
    "plain": (SyncEventContext, None, None),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", USES)
async def test_the_context_in_its_signature_says_around_what_it_goes(name: str, place: int) -> None:
    hint, *expected = USES[name]
    pond, endpoint, lobby = build()
    use = (endpoint.use, lobby.use)[place]
    log: list[str] = []
    if expected[place] is None:
        with pytest.raises(UsageError, match="around another kind of handler, as it asks for"):
            use(typed(log, hint))
        return
    use(typed(log, hint))
    async with connect(pond, "/socket") as ann:
        await ann.join("/chat")
        await ann.answer(ann.send("BROADCAST", "/chat", "ask"))
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "ask"))
    assert log == expected[place]


async def test_the_order_is_that_of_the_groups_and_in_each_that_of_the_calls() -> None:
    log: list[str] = []
    pond, endpoint, lobby = build()
    lobby.on_message("own", done, noting(log, "own"))
    lobby.use(noting(log, "lobby 1"))
    endpoint.use(noting(log, "endpoint 1"), noting_joins(log, "join"))
    lobby.use(noting(log, "lobby 2"))
    endpoint.use(noting(log, "endpoint 2"))
    assert await ask(pond, "own", "/chat") == "done"
    assert log == ["join", "endpoint 1", "endpoint 2", "lobby 1", "lobby 2", "own"]


async def test_it_counts_for_handlers_of_before_and_of_later() -> None:
    log: list[str] = []
    pond, endpoint, lobby = build()
    endpoint.use(noting(log, "used"))
    lobby.on_message("later", done)
    endpoint.create_channel("/late", accept).on_message("ask", done)
    included = Lobby("/included", accept)
    included.on_message("ask", done)
    endpoint.include(included)
    for event, name in (("ask", "/chat"), ("later", "/chat"), ("ask", "/late")):
        await ask(pond, event, name)
    await ask(pond, "ask", "/included")
    assert log == ["used"] * 4


async def test_it_may_stop_an_event_a_join_and_see_what_handlers_return() -> None:
    seen: list[object] = []

    async def stopping(ctx: EventContext, next: Next) -> object:  # noqa: A002
        if ctx.get_payload():
            raise PondError("stopped", 403)
        seen.append(await next())
        return None

    async def closed(ctx: JoinContext, next: Next) -> None:  # noqa: A002
        await ctx.decline(403, "closed")

    pond, _, lobby = build()
    lobby.use(stopping)
    assert await ask(pond, "ask", "/chat", {"a": 1}) == "stopped"
    assert await ask(pond, "ask", "/chat") == "done"
    lobby.use(closed)
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/chat")).event == "UNAUTHORIZED"
    assert len(seen) == 1


async def test_middleware_of_connections_stays_inside_of_the_existing() -> None:
    async def no_one(ctx: ConnectionContext, next: Next) -> None:  # noqa: A002
        ctx.decline(403, "closed")

    pond, endpoint, _ = build()
    endpoint.use(no_one)
    with pytest.raises(ConnectionRefused, match="closed"):
        async with connect(pond, "/socket"):
            pass


class Timed:
    """Middleware that is an object."""

    async def __call__(self, ctx: EventContext, next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002
        return await next()


async def test_an_object_may_be_middleware() -> None:
    pond, endpoint, _ = build()
    endpoint.use(Timed())
    assert await ask(pond, "ask", "/chat") == "done"


def test_without_middleware_a_handler_is_called_directly() -> None:
    async def relay(ctx: EventContext) -> Any:
        return ctx.get_payload()

    _, _, lobby = build()
    lobby.on_message("relay", relay)
    *_, registration = lobby.events._table
    assert registration.begin is relay
    lobby.use(noting([], "1"))
    assert registration.begin is not relay
    assert registration.finish is None


def test_an_annotation_that_cannot_be_read_is_read_by_its_name() -> None:
    async def middleware(ctx: "EventContext", next: "Hidden") -> None: ...  # type: ignore[name-defined]  # noqa: A002, F821

    async def hidden(ctx: "Hidden", next: Next) -> None: ...  # type: ignore[name-defined]  # noqa: A002, F821

    async def wrong(ctx: "LeaveContext", next: "Hidden") -> None: ...  # type: ignore[name-defined]  # noqa: A002, F821

    _, endpoint, lobby = build()
    lobby.use(middleware)
    with pytest.raises(UsageError, match=r"cannot be read.*outside of `if TYPE_CHECKING`"):
        endpoint.use(hidden)
    with pytest.raises(UsageError, match="pass it behind the handler: `on_leave"):
        lobby.use(wrong)


@pytest.mark.parametrize(
    ("register", "remedy"),
    [
        (lambda e, mw: e.on_message("b", done, mw(JoinContext)), "behind the join handler"),
        (lambda e, mw: e.create_channel("/b", accept, mw(EventContext)), "`lobby.use"),
        (lambda e, mw: e.create_channel("/b", accept).use(mw(ConnectionContext)), "`endpoint.use"),
        (lambda e, mw: e.use(mw(LeaveContext)), r"`on_leave\(handler, …\)`"),
        (lambda e, mw: e.use(mw(OutgoingContext)), r"`on_outgoing\(event, handler, …\)`"),
        (lambda e, mw: e.use(mw(SyncEventContext)), "so write `ctx: EventContext`"),
    ],
)
def test_middleware_of_another_kind_is_refused_with_what_to_write(
    register: Callable[[Endpoint, Callable[[Any], Any]], object], remedy: str
) -> None:
    _, endpoint, _ = build()
    with pytest.raises(UsageError, match=remedy):
        register(endpoint, lambda hint: typed([], hint))


def test_nothing_is_used_if_one_of_several_is_wrong() -> None:
    _, endpoint, lobby = build()
    for group in (endpoint, lobby):
        with pytest.raises(UsageError):
            group.use(noting([], "1"), typed([], LeaveContext))
    (registration,) = lobby.events._table
    assert not registration._layers[0].around(registration._context)
