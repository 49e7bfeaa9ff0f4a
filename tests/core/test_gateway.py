"""Events of the endpoint itself: request and response over one connection, without a room."""

# ruff: noqa: A002

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    GatewayContext,
    JoinContext,
    Next,
    Options,
    PondError,
    PondSocket,
    Position,
    PresenceMode,
    ServerActions,
    SyncEventContext,
    SyncGatewayContext,
    UsageError,
)
from pondsocket._state.request import Transport
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, Fault, Payload, Refused, ServerMessage
from pydantic import BaseModel

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, admit, build


class Numbers(BaseModel):
    numbers: list[int]


async def call(peer: MemoryPeer, event: str, payload: Payload | None = None) -> ServerMessage:
    return await peer.answer(peer.send("BROADCAST", "GATEWAY", event, payload))


async def test_a_request_to_the_endpoint_needs_no_join() -> None:
    setup = build()

    @setup.endpoint.on_message("add_numbers")
    async def add_numbers(ctx: GatewayContext, payload: Numbers) -> int:
        return sum(payload.numbers)

    async with connect(setup.pond, "/socket") as ann:
        answer = await call(ann, "add_numbers", {"numbers": [1, 2]})
    assert (answer.action, answer.event, answer.channel_name, answer.payload) == (
        "SYSTEM",
        "add_numbers",
        "GATEWAY",
        {"result": 3},
    )


async def test_its_context_knows_the_connection() -> None:
    pond = PondSocket()

    @pond.endpoint("/:tenant/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann", role="admin")

    @socket.on_message("who/:n")
    async def who(ctx: GatewayContext, tenant: int, n: int, x: str) -> None:
        await ctx.set_assign("seen", n)
        await ctx.assign(more=1)
        user = ctx.user
        assert user == ctx.get_user()
        assert user.presence is None
        shown = {**user.assigns, "tenant": tenant, "x": x, "id": user.id, "event": ctx.event_name}
        assert await ctx.get_assign("seen") == n
        await ctx.reply("you", shown)

    async with connect(pond, "/7/socket") as ann:
        answer = await call(ann, "who/3", {"x": "y"})
        assert answer.event == "you"
        assert answer.payload == {
            "user_id": "ann",
            "role": "admin",
            "seen": 3,
            "more": 1,
            "tenant": 7,
            "x": "y",
            "id": "ann",
            "event": "who/3",
        }
        assert ann.session.assigns["seen"] == 3


async def test_a_user_of_the_endpoint_is_a_snapshot() -> None:
    setup = build()
    seen: list[dict[str, Any]] = []

    @setup.endpoint.on_message("ask")
    async def ask(ctx: GatewayContext) -> str:
        before = ctx.user
        await ctx.set_assign("later", 1)
        seen.append(dict(before.assigns))
        return "done"

    async with connect(setup.pond, "/socket?user=ann") as ann:
        await call(ann, "ask")
    assert seen == [{"user_id": "ann"}]


NEEDS_A_CHANNEL: list[Callable[[GatewayContext], Awaitable[Any]]] = [
    lambda ctx: ctx.broadcast("x"),
    lambda ctx: ctx.broadcast_to("x", {}, "ann"),
    lambda ctx: ctx.broadcast_from("x"),
    lambda ctx: ctx.track({}),
    lambda ctx: ctx.track({}, "ann"),
    lambda ctx: ctx.update_presence({}),
    lambda ctx: ctx.untrack(),
    lambda ctx: ctx.evict("reason"),
    lambda ctx: ctx.get_all_presence(),
    lambda ctx: ctx.get_all_assigns(),
    lambda ctx: ctx.channel.user_count(),
]


@pytest.mark.parametrize("attempt", NEEDS_A_CHANNEL)
async def test_what_needs_a_channel_is_a_usage_error_there(
    attempt: Callable[[GatewayContext], Awaitable[Any]],
) -> None:
    setup = build()

    @setup.endpoint.on_message("ask")
    async def ask(ctx: GatewayContext) -> str:
        with pytest.raises(UsageError, match="no channel"):
            await attempt(ctx)
        return "failed"

    async with connect(setup.pond, "/socket?user=ann") as ann:
        assert (await call(ann, "ask")).payload == {"result": "failed"}


async def test_an_event_that_the_endpoint_does_not_handle_is_404() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as ann:
        answer = await call(ann, "unknown")
    assert isinstance(answer.payload, Fault)
    assert (answer.event, answer.payload.code) == ("HANDLER_NOT_FOUND", 404)
    assert answer.channel_name == "GATEWAY"


async def test_errors_of_the_endpoints_handlers(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()

    @setup.endpoint.on_message("refuse")
    async def refuse() -> None:
        raise PondError("No.", 418)

    @setup.endpoint.on_message("fail")
    async def fail() -> None:
        raise ValueError("secret")

    @setup.endpoint.on_message("needs")
    async def needs(n: int) -> None: ...

    async with connect(setup.pond, "/socket") as ann:
        answers = [await call(ann, event) for event in ("refuse", "fail", "needs")]
    seen = [
        (answer.event, answer.payload.code, answer.channel_name)
        for answer in answers
        if isinstance(answer.payload, Fault)
    ]
    assert seen == [
        ("ENDPOINT_ERROR", 418, "GATEWAY"),
        ("INTERNAL_SERVER_ERROR", 500, "GATEWAY"),
        ("INVALID_MESSAGE", 422, "GATEWAY"),
    ]
    assert "ValueError: secret" in caplog.text
    assert "request=" in caplog.text


async def test_plain_handlers_and_middleware_work_for_the_endpoint_too() -> None:
    setup = build()

    async def members_only(ctx: GatewayContext, next: Next) -> None:
        if ctx.user.id != "ann":
            raise PondError("Ann only.", 403)
        await next()

    @setup.endpoint.on_message("shout", middlewares=[members_only])
    def shout(ctx: SyncGatewayContext, text: str) -> str:
        ctx.set_assign("text", text)
        return text.upper()

    async with connect(setup.pond, "/socket?user=ann") as ann:
        assert (await call(ann, "shout", {"text": "hi"})).payload == {"result": "HI"}
    async with connect(setup.pond, "/socket?user=bob") as bob:
        assert (await call(bob, "shout", {"text": "hi"})).event == "ENDPOINT_ERROR"


async def test_one_reply_per_request_to_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()

    @setup.endpoint.on_message("ask")
    async def ask(ctx: GatewayContext) -> str:
        await ctx.reply("first", {})
        return "second"

    async with connect(setup.pond, "/socket") as ann:
        assert (await call(ann, "ask")).event == "first"
        await call(ann, "unknown")
        assert events(ann) == ["CONNECTION"]
    assert "replied twice" in caplog.text


async def test_requests_to_the_endpoint_are_handled_in_order_beside_those_to_channels() -> None:
    setup = build()
    latch = anyio.Event()
    seen: list[int] = []

    @setup.endpoint.on_message("wait")
    async def wait(n: int) -> None:
        seen.append(n)
        if n == 1:
            await latch.wait()

    async with member(setup, "ann") as ann:
        for n in (1, 2):
            ann.send("BROADCAST", "GATEWAY", "wait", {"n": n})
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        assert seen == [1]
        latch.set()
        await call(ann, "unknown")
        assert seen == [1, 2]


# --- joins of the endpoint itself -------------------------------------------------------------


async def never(ctx: JoinContext) -> None:
    raise AssertionError("No handler runs for GATEWAY.")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_the_endpoint_may_be_joined_and_left_which_changes_nothing(
    transport: Transport,
) -> None:
    pond = PondSocket(options=Options(max_channels=1))
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("*", never)

    @endpoint.on_message("ask")
    async def ask() -> str:
        return "told"

    async with connect(pond, "/socket?user=ann", transport=transport) as ann:
        ann.drain()
        for _ in range(3):
            request_id = ann.send("JOIN_CHANNEL", "GATEWAY", "join", {"name": "ann"})
            answer = await ann.receive()
            assert answer == ServerMessage(
                ServerActions.SYSTEM, "ACKNOWLEDGE", "GATEWAY", request_id, Acknowledged()
            )
        assert ann.session.memberships == {}
        assert await lobby.list_channels() == []
        assert (await call(ann, "ask")).payload == {"result": "told"}
        for _ in range(2):
            request_id = ann.send("LEAVE_CHANNEL", "GATEWAY", "leave")
            answer = await ann.receive()
            assert (answer.event, answer.request_id) == ("EXIT_ACKNOWLEDGE", request_id)
            assert await pond.push("ann", "still") == 1
            await endpoint.broadcast("all")
            assert events(ann) == ["still", "all"]
        assert (await call(ann, "ask")).payload == {"result": "told"}


async def test_a_join_of_the_endpoint_ignores_what_it_is_asked_to_recover() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.join("GATEWAY", since=Position("e", 1), presence=PresenceMode.DIFF)
        assert (answer.event, answer.payload) == ("ACKNOWLEDGE", Acknowledged())


async def test_a_join_of_the_endpoint_does_not_count_for_the_channels_of_a_connection() -> None:
    setup = build(options=Options(max_channels=1))
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        assert (await ann.join("GATEWAY")).event == "ACKNOWLEDGE"
        assert (await ann.join("/room/2")).event == "UNAUTHORIZED"


async def test_a_join_of_the_endpoint_over_the_rate_is_refused_as_any_other() -> None:
    setup = build(options=Options(control_rate=0.01, control_burst=1))
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join("GATEWAY")).event == "ACKNOWLEDGE"
        answer = await ann.join("GATEWAY")
        assert isinstance(answer.payload, Refused)
        assert (answer.event, answer.payload.code) == ("UNAUTHORIZED", 429)


async def test_an_event_behind_a_join_of_the_endpoint_is_handled_behind_it() -> None:
    setup = build()

    @setup.endpoint.on_message("ask", concurrent=True)
    async def ask() -> str:
        return "told"

    async with connect(setup.pond, "/socket") as ann:
        ann.drain()
        ann.send("JOIN_CHANNEL", "GATEWAY", "join")
        ann.send("BROADCAST", "GATEWAY", "ask")
        ann.send("LEAVE_CHANNEL", "GATEWAY", "leave")
        await settled()
        assert events(ann) == ["ACKNOWLEDGE", "ask", "EXIT_ACKNOWLEDGE"]


# --- what its handlers are given --------------------------------------------------------------


async def for_channels(ctx: EventContext) -> None: ...
async def for_endpoints(ctx: GatewayContext) -> None: ...
def plain_for_channels(ctx: SyncEventContext) -> None: ...
def plain_for_endpoints(ctx: SyncGatewayContext) -> None: ...
async def for_both(ctx: EventContext | GatewayContext) -> None: ...
async def untyped(ctx) -> None: ...  # type: ignore[no-untyped-def]


class Own(GatewayContext):
    """A context of the application's own, for its type checker."""


async def for_own(ctx: Own) -> None: ...


@pytest.mark.parametrize(
    ("handler", "fits_channel", "fits_endpoint"),
    [
        (for_channels, True, True),
        (plain_for_channels, True, True),
        (for_endpoints, False, True),
        (plain_for_endpoints, False, True),
        (for_both, True, True),
        (untyped, True, True),
        (for_own, False, True),
    ],
)
def test_each_kind_of_event_has_its_context(
    handler: Callable[..., Any], fits_channel: bool, fits_endpoint: bool
) -> None:
    setup = build()
    for owner, fits, given in (
        (setup.lobby, fits_channel, "(Sync)?EventContext"),
        (setup.endpoint, fits_endpoint, "(Sync)?GatewayContext"),
    ):
        if fits:
            owner.on_message("ask", handler)
        else:
            with pytest.raises(UsageError, match=f"handler is given is {given}"):
                owner.on_message("ask", handler)


def test_a_plain_handler_of_the_endpoint_is_told_what_to_write() -> None:
    setup = build()

    def handler(ctx: GatewayContext) -> None: ...

    async def async_handler(ctx: SyncGatewayContext) -> None: ...

    with pytest.raises(UsageError, match="write `async def`, or `ctx: SyncGatewayContext`"):
        setup.endpoint.on_message("ask", handler)
    with pytest.raises(UsageError, match="would block: write `ctx: GatewayContext`"):
        setup.endpoint.on_message("ask", async_handler)
    with pytest.raises(UsageError, match="but what this event handler is given is Sync"):
        setup.lobby.on_message("ask", handler)
