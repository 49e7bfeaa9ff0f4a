"""Routers: channels and events of one module, included in endpoints and lobbies."""

import gc
import weakref
from typing import Any

import pytest
from pondsocket import (
    Depends,
    Endpoint,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Lobby,
    OutgoingContext,
    PondSocket,
    Router,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import Acknowledged

from tests.core.groups import accept, ask, noting, noting_joins


def endpoint_of(pond: PondSocket, path: str = "/socket") -> Endpoint:
    return pond.create_endpoint(path)


def make_chat(router: Router) -> Lobby:
    """Register a channel on a router, with one of each kind of handler."""

    @router.channel("/chat/:room_id")
    async def chat(ctx: JoinContext, room_id: int) -> dict[str, int]:
        return {"room": room_id}

    @chat.on_message("say")
    async def say(ctx: EventContext, room_id: int, text: str) -> str:
        await ctx.broadcast("said", {"text": text})
        return f"{text} in {room_id}"

    return chat


async def test_the_channels_of_a_router_become_channels_of_the_endpoint() -> None:
    router = Router()
    make_chat(router)
    pond = PondSocket()
    endpoint_of(pond).include(router)
    assert await ask(pond, "say", "/chat/7", {"text": "hi"}) == "hi in 7"
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/chat/seven")).event == "NOT_FOUND"


async def test_the_events_of_a_router_become_events_of_the_endpoint_or_of_the_lobby() -> None:
    router = Router()

    @router.on_message("who-:what")
    async def who(ctx: EventContext, what: str, name: str = "none") -> str:
        return f"{what} {name} at {ctx.message.channel_name}"

    assert callable(who)
    pond = PondSocket()
    endpoint = endpoint_of(pond)
    endpoint.include(router)
    endpoint.create_channel("/chat/:name", accept).include(router)
    # `name` is a parameter of the channel's pattern here, and a field of the payload there.
    assert await ask(pond, "who-is", payload={"name": "ann"}) == "is ann at GATEWAY"
    assert await ask(pond, "who-was", "/chat/bob") == "was bob at /chat/bob"


async def test_a_handler_may_be_registered_as_a_call_with_middleware() -> None:
    log: list[str] = []
    router = Router()

    async def hello(ctx: EventContext) -> str:
        log.append("hello")
        return "hello"

    assert router.on_message("hello", hello, noting(log, "1"), concurrent=True) is hello
    pond = PondSocket()
    endpoint_of(pond).include(router)
    assert await ask(pond, "hello") == "hello"
    assert log == ["1", "hello"]


async def test_a_router_includes_routers_and_their_prefixes_stand_in_a_row() -> None:
    rooms, shop = Router(prefix="/rooms"), Router(prefix="/shop/:shop_id")
    make_chat(rooms)
    shop.include(rooms)

    @shop.channel("/orders")
    async def orders(ctx: JoinContext, shop_id: int) -> None:
        await ctx.accept()

    @orders.on_message("count")
    async def count(shop_id: int) -> int:
        return shop_id + 1

    pond = PondSocket()
    endpoint_of(pond).include(shop)
    assert await ask(pond, "say", "/shop/3/rooms/chat/7", {"text": "hi"}) == "hi in 7"
    assert await ask(pond, "count", "/shop/3/orders") == 4


async def test_each_endpoint_has_lobbies_of_its_own() -> None:
    router = Router()
    make_chat(router)
    pond = PondSocket()
    endpoint_of(pond, "/one").include(router)
    endpoint_of(pond, "/two").include(router)
    async with connect(pond, "/one") as ann, connect(pond, "/two") as bob:
        for peer in (ann, bob):
            await peer.join("/chat/1")
            peer.drain()
        await ann.answer(ann.send("BROADCAST", "/chat/1", "say", {"text": "hi"}))
        assert [each.event for each in ann.drain()] == ["said"]
        assert bob.drain() == []
        assert await pond.channel("/two", "/chat/1").user_count() == 1


async def test_what_is_registered_after_the_include_counts_everywhere() -> None:
    router, inner = Router(), Router()
    chat = make_chat(router)
    router.include(inner)
    pond = PondSocket()
    endpoint_of(pond, "/socket").include(router)
    lobby = endpoint_of(pond, "/two").create_channel("/chat/:name", accept)
    lobby.include(inner)

    @chat.on_message("late")
    async def late(ctx: EventContext) -> str:
        return "late"

    @inner.on_message("later")
    async def later(ctx: EventContext) -> str:
        return "later"

    log: list[str] = []
    inner.use(noting(log, "inner"))
    router.channel("/late")(accept).on_message("late", late)
    more = Router()
    more.on_message("latest", late)
    chat.include(more)
    assert await ask(pond, "late", "/chat/1") == "late"
    assert await ask(pond, "latest", "/chat/1") == "late"
    assert await ask(pond, "late", "/late") == "late"
    assert await ask(pond, "later") == "later"
    assert await ask(pond, "later", "/chat/1", path="/two") == "later"
    assert log == ["inner", "inner"]


async def test_leave_and_outgoing_handlers_and_history_come_along() -> None:
    router = Router()
    left: list[str] = []
    chat = router.channel("/chat/:id", history=History(size=10))(accept)

    @chat.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.channel.name)

    @chat.on_outgoing("say")
    def shout(ctx: OutgoingContext) -> None:
        ctx.transform({"text": ctx.get_payload()["text"].upper()})

    @chat.on_message("say")
    async def say(ctx: EventContext, text: str) -> None:
        await ctx.broadcast("say", {"text": text})

    pond = PondSocket()
    endpoint_of(pond).include(router)
    async with connect(pond, "/socket") as ann:
        joined = await ann.join("/chat/1")
        assert isinstance(joined.payload, Acknowledged)
        assert joined.payload.offset == 0
        ann.send("BROADCAST", "/chat/1", "say", {"text": "hi"})
        assert (await ann.receive_event("say")).payload == {"text": "HI"}
        await ann.answer(ann.send("LEAVE_CHANNEL", "/chat/1", "leave"))
    assert left == ["/chat/1"]


async def test_middleware_goes_from_the_endpoint_over_routers_to_the_handler() -> None:
    log: list[str] = []
    outer, inner = Router(), Router()
    chat = inner.channel("/chat", middlewares=[noting_joins(log, "own join")])(accept)

    async def handler(ctx: EventContext) -> str:
        return "done"

    chat.on_message("ask", handler, noting(log, "own"))
    inner.on_message("ask", handler)
    outer.include(inner)
    outer.on_message("other", handler)
    pond = PondSocket()
    endpoint = endpoint_of(pond)
    endpoint.include(outer)
    for name, group in {"lobby": chat, "inner": inner, "outer": outer, "end": endpoint}.items():
        group.use(noting(log, name), noting_joins(log, f"{name} join"))  # type: ignore[attr-defined]
    assert await ask(pond, "ask", "/chat") == "done"
    assert log == [
        *["end join", "outer join", "inner join", "lobby join", "own join"],
        *["end", "outer", "inner", "lobby", "own"],
    ]
    log.clear()
    assert await ask(pond, "ask") == "done"
    assert await ask(pond, "other") == "done"
    assert log == ["end", "outer", "inner", "end", "outer"]


async def test_dependencies_are_overridden_in_the_pond_where_it_is_said() -> None:
    def get_db() -> str:
        return "real"

    router = Router()
    chat = router.channel("/chat")(accept)

    @chat.on_message("db")
    async def which(db: str = Depends(get_db)) -> str:
        return db

    router.on_message("db", which)
    ponds = PondSocket(), PondSocket()
    for pond in ponds:
        endpoint_of(pond).include(router)
    ponds[0].dependency_overrides[get_db] = lambda: "fake"
    assert [await ask(pond, "db", "/chat") for pond in ponds] == ["fake", "real"]
    assert [await ask(pond, "db") for pond in ponds] == ["fake", "real"]


async def test_its_lobby_finds_channels_where_it_is_included_once() -> None:
    router = Router()
    chat = make_chat(router)
    with pytest.raises(UsageError, match=r"included nowhere yet; write `endpoint.include\(router"):
        await chat.get_channel("/chat/1")
    pond = PondSocket()
    endpoint_of(pond).include(router)
    async with connect(pond, "/socket") as ann:
        await ann.join("/chat/1")
        channel = await chat.get_channel("/chat/1")
        assert channel is not None
        assert await channel.user_count() == 1
        assert await chat.list_channels() == [channel]
    endpoint_of(pond, "/two").include(router)
    with pytest.raises(UsageError, match=r'several endpoints.*`pond.channel\("/endpoint'):
        await chat.list_channels()


async def test_closed_ponds_of_earlier_tests_do_not_count() -> None:
    router = Router()
    chat = make_chat(router)
    earlier, pond = PondSocket(), PondSocket()
    for each in (earlier, pond):
        endpoint_of(each).include(router)
    async with earlier:
        pass
    assert await chat.list_channels() == []


def test_a_router_of_a_module_keeps_no_pond() -> None:
    router = Router()
    make_chat(router)
    pond = PondSocket()
    endpoint_of(pond).include(router)
    known = weakref.ref(pond)
    del pond
    gc.collect()
    assert known() is None


async def handler(ctx: EventContext) -> None: ...


def nested() -> Router:
    router, inner = Router(), Router()
    router.include(inner)
    inner.include(router)
    return router


def with_channel() -> Router:
    router = Router()
    router.channel("/inner")(accept)
    return router


def with_event(event: str) -> Router:
    router = Router()
    router.on_message(event, handler)
    return router


def hidden() -> Router:
    router = Router()
    router.channel("/chat/:id")(accept)
    router.include(with_other())
    return router


def with_other() -> Router:
    router = Router()
    router.channel("/chat/general")(accept)
    return router


MISTAKES: dict[str, tuple[Any, str]] = {
    "no parentheses": (
        lambda e: e.include(Router().channel(accept)),  # type: ignore[arg-type]
        r"Write `@router.channel\(",
    ),
    "no parentheses, event": (
        lambda e: Router().on_message(handler),  # type: ignore[call-overload]
        r'`@router.on_message\("event"',
    ),
    "the class": (lambda e: e.include(Router), r"include\(Router\(…\)\)"),
    "a module": (lambda e: e.include(pytest), r"`include` takes a `Router`, or an object whose"),
    "an endpoint": (lambda e: e.include(e), "`include` takes a `Router`"),
    "a function": (lambda e: e.include(handler), "`include` takes a `Router`"),
    "a lobby in a lobby": (
        lambda e: e.create_channel("/a", accept).include(Lobby("/b", accept)),
        "`include` takes a `Router`",
    ),
    "a lobby without its router": (
        lambda e: e.include(make_chat(Router())),
        "part of a router; include the router",
    ),
    "channels in a lobby": (
        lambda e: e.create_channel("/a", accept).include(with_channel()),
        "channel '/a': what is included has channels of its own, '/inner'; include it in the end",
    ),
    "itself": (lambda e: (router := Router()).include(router), "cannot include itself"),
    "a circle": (lambda e: e.include(nested()), "this router is included there already"),
    "twice": (
        lambda e: [e.include(router) for router in [with_event("a")] * 2],
        "endpoint '/socket': this router is included there already",
    ),
    "never reached": (lambda e: e.include(hidden()), "channel '/chat/general': it is never reach"),
    "an event twice": (
        lambda e: [e.include(with_event("a")) for _ in range(2)],
        "event 'a': this is registered already",
    ),
    "a reserved event": (lambda e: e.include(with_event("ACKNOWLEDGE")), "protocol's own"),
    "a wrong pattern": (lambda e: with_event("{id}"), "write ':id'"),
    "no function": (
        lambda e: Router().on_message("a", None),  # type: ignore[call-overload]
        "a function",
    ),
    "a prefix": (lambda e: Router(prefix="shop/"), "a prefix starts with '/'"),
    "a prefix with a rest": (lambda e: Router(prefix="/shop*"), "write none"),
    "no prefix but a pattern": (lambda e: Router(prefix="{id}"), "a prefix starts with '/'"),
    "a star behind a prefix": (
        lambda e: Router(prefix="/a").channel("*")(accept),
        "behind a prefix a name starts with '/'",
    ),
    "plain middleware": (
        lambda e: Router().use(lambda ctx, next: None),  # type: ignore[arg-type]  # noqa: A006
        "write `async def",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_what_to_write(name: str) -> None:
    make, text = MISTAKES[name]
    with pytest.raises(UsageError, match=text):
        make(endpoint_of(PondSocket()))


def test_a_channel_that_comes_late_to_a_lobby_is_refused() -> None:
    router = with_event("a")
    endpoint_of(PondSocket()).create_channel("/a", accept).include(router)
    with pytest.raises(UsageError, match="has channels of its own"):
        router.channel("/late")(accept)


def test_a_wrong_signature_is_told_where_the_router_is_included() -> None:
    router = Router()
    router.on_message("a", lambda ctx, next: None)  # noqa: A006
    with pytest.raises(UsageError, match="this is middleware"):
        endpoint_of(PondSocket()).include(router)
