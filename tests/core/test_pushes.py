"""Pushes: events to one connection, or to those of one user, which ask for none."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    Counter,
    EncodingError,
    EventContext,
    GatewayContext,
    History,
    JoinContext,
    OutgoingContext,
    PondSocket,
    ServerActions,
    ServerMessage,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    UsageError,
    conflate,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Payload
from pydantic import BaseModel, model_serializer

from tests.array_codec import ArrayCodec
from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, PondSetup, admit, build
from tests.core.slow_consumers import build_with, counted, join_and_stall


class Progress(BaseModel):
    percent: int


def pushed(peer: MemoryPeer) -> list[tuple[str, str, Any]]:
    """Receive all. Return channel, event and payload of what has action BROADCAST."""
    return [
        (each.channel_name, each.event, each.payload)
        for each in peer.drain()
        if each.action is ServerActions.BROADCAST
    ]


async def test_progress_of_a_job_goes_to_the_tab_that_asked_and_to_no_other() -> None:
    setup = build()

    @setup.lobby.on_message("import")
    async def start(ctx: EventContext) -> str:
        for percent in (0, 50, 100):
            await ctx.push("progress", Progress(percent=percent))
        return "done"

    async with member(setup, "ann") as tab, member(setup, "ann") as other:
        request_id = tab.send("BROADCAST", ROOM, "import")
        messages = [await tab.receive() for _ in range(4)]
        assert [(each.action, each.event) for each in messages] == [
            *[("BROADCAST", "progress")] * 3,
            ("SYSTEM", "import"),
        ]
        assert [each.payload for each in messages[:3]] == [
            {"percent": 0},
            {"percent": 50},
            {"percent": 100},
        ]
        assert {each.channel_name for each in messages} == {ROOM}
        assert messages[3].request_id == request_id
        ids = {each.request_id for each in messages}
        assert len(ids) == 4
        assert events(other) == []


async def test_a_push_goes_to_the_channel_of_the_context_or_to_the_one_named() -> None:
    setup = build()

    @setup.lobby.on_message("ask")
    async def ask(ctx: EventContext) -> None:
        await ctx.push("a")
        await ctx.push("b", {"n": 1}, channel="/room/2")
        await ctx.push("c", channel="GATEWAY")

    @setup.endpoint.on_message("ask")
    async def ask_endpoint(ctx: GatewayContext) -> None:
        await ctx.push("d")
        await ctx.push("e", channel=ROOM)

    async with member(setup, "ann") as ann:
        await ann.join("/room/2")
        for name in (ROOM, "GATEWAY"):
            ann.send("BROADCAST", name, "ask")
        await settled()
        assert pushed(ann) == [
            (ROOM, "a", {}),
            ("/room/2", "b", {"n": 1}),
            ("GATEWAY", "c", {}),
            ("GATEWAY", "d", {}),
            (ROOM, "e", {}),
        ]


async def test_a_join_may_push_after_it_has_accepted_and_not_before() -> None:
    async def join(ctx: JoinContext) -> None:
        for channel in (None, "GATEWAY"):
            with pytest.raises(UsageError, match=r"await ctx.accept\(\)` first"):
                await ctx.push("early", channel=channel)
        await ctx.accept()
        await ctx.push("hello", {"n": 1})

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        assert pushed(ann) == [(ROOM, "hello", {"n": 1})]


def plain_join(ctx: SyncJoinContext) -> None:
    ctx.accept()
    ctx.push("joined")


def plain_event(ctx: SyncEventContext) -> str:
    ctx.push("step", {"n": 1})
    assert ctx.connection.push("step", {"n": 2}, channel=ctx.channel.name)
    ctx.push("step", {"n": 3})
    return "done"


def plain_gateway_event(ctx: SyncGatewayContext) -> str:
    ctx.push("own", {"event": ctx.event_name, "path": ctx.path, "user": ctx.get_user().id})
    ctx.set_assign("seen", ctx.get_payload())
    ctx.connection.push("own", {"seen": ctx.get_assign("seen")})
    return ctx.user.id


async def test_plain_functions_push_in_order() -> None:
    setup = build(plain_join)
    setup.lobby.on_message("ask", plain_event)
    setup.endpoint.on_message("ask", plain_gateway_event)
    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        assert (await ann.receive_event("joined")).channel_name == ROOM
        ann.send("BROADCAST", ROOM, "ask")
        assert [(await ann.receive()).payload for _ in range(4)] == [
            {"n": 1},
            {"n": 2},
            {"n": 3},
            {"result": "done"},
        ]
        ann.send("BROADCAST", "GATEWAY", "ask", {"x": 1})
        assert [(await ann.receive()).payload for _ in range(3)] == [
            {"event": "ask", "path": "/socket", "user": "ann"},
            {"seen": {"x": 1}},
            {"result": "ann"},
        ]


# --- what is refused --------------------------------------------------------------------------

MISTAKES: dict[str, tuple[tuple[Any, ...], type[Exception], str]] = {
    "a reserved name": (("EVICTED", {}), UsageError, "a name of the protocol's own"),
    "no name": (("", {}), UsageError, "1 to 255 characters"),
    "a list": (("x", [1]), UsageError, "A payload is an object"),
    "what JSON has no form for": (("x", {"deep": {"key": object()}}), EncodingError, "deep.*key"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("how", ["ctx", "connection", "thread", "user", "endpoint"])
async def test_what_cannot_be_sent_raises_where_it_is_written_and_sends_nothing(
    mistake: str, how: str
) -> None:
    arguments, error, text = MISTAKES[mistake]
    setup = build()

    async def push(ctx: GatewayContext) -> None:
        if how == "ctx":
            await ctx.push(*arguments)
        elif how == "connection":
            ctx.connection.push(*arguments)
        elif how == "thread":
            await anyio.to_thread.run_sync(partial(ctx.connection.push, *arguments))
        elif how == "user":
            await setup.pond.push("ann", *arguments)
        else:
            await setup.endpoint.broadcast(*arguments)

    @setup.endpoint.on_message("try")
    async def attempt(ctx: GatewayContext) -> str:
        with pytest.raises(error, match=text):
            await push(ctx)
        return "refused"

    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.receive_event("CONNECTION")
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "try"))
        assert answer.payload == {"result": "refused"}
        assert ann.unread == []


@pytest.mark.parametrize("channel", ["/room/2", "/nowhere", "room", ""])
async def test_a_channel_that_it_has_not_joined_is_a_usage_error(channel: str) -> None:
    setup = build()

    @setup.lobby.on_message("try")
    async def attempt(ctx: EventContext) -> str:
        with pytest.raises(UsageError, match=r"is no member of .* would drop"):
            await ctx.push("x", channel=channel)
        return "refused"

    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "try"))
        assert answer.payload == {"result": "refused"}
        assert ann.unread == []


@pytest.mark.parametrize("channel", [2, b"/room/1", ["/room/1"], {"text": "secret"}])
async def test_a_channel_that_is_no_text_is_a_usage_error(channel: Any) -> None:
    setup = build()
    # A payload in its place is not for the log.
    told = rf"push: channel is the name of one, .*, not {type(channel).__name__}\.$"

    @setup.lobby.on_message("try")
    async def attempt(ctx: EventContext) -> str:
        with pytest.raises(UsageError, match=told):
            await ctx.push("x", channel=channel)
        with pytest.raises(UsageError, match=told):
            ctx.connection.push("x", channel=channel)
        with pytest.raises(UsageError, match=r"name`, not Channel\.$"):
            await ctx.push("x", channel=ctx.channel)  # type: ignore[call-overload]
        return "refused"

    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "try"))
        assert answer.payload == {"result": "refused"}
        assert ann.unread == []


# --- who gets it, and when --------------------------------------------------------------------


async def test_outgoing_handlers_do_not_see_a_push_and_it_stays_in_order_behind_them() -> None:
    setup = build()
    seen: list[str] = []
    latch = anyio.Event()

    @setup.lobby.on_outgoing("*")
    async def outgoing(ctx: OutgoingContext) -> None:
        seen.append(ctx.get_event())
        await latch.wait()

    @setup.lobby.on_message("mix")
    async def mix(ctx: EventContext) -> None:
        await ctx.broadcast("said")
        await ctx.push("pushed")
        ctx.connection.push("aside", channel=ROOM)

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "mix")
        await settled()
        assert events(ann) == []
        latch.set()
        await settled()
        assert events(ann) == ["said", "pushed", "aside"]
    assert seen == ["said"]


async def test_a_push_has_no_position_and_stays_behind_what_is_recovered() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)

    async def join(ctx: JoinContext) -> None:
        await ctx.accept(history=3)
        await ctx.push("last")

    endpoint.create_channel("/room/:id", join, history=History())
    for n in range(3):
        await pond.channel("/socket", ROOM).broadcast("said", {"n": n})
    async with connect(pond, "/socket") as ann:
        await ann.join(ROOM)
        messages = ann.drain()
        assert [each.event for each in messages] == ["CONNECTION", "said", "said", "said", "last"]
        assert messages[-1].position is None
        log = await pond.channel("/socket", ROOM).history()
        assert log is not None
        assert [each.event for each in log] == ["said"] * 3


@pytest.mark.parametrize("end", ["leave", "evict"])
async def test_a_member_that_has_gone_gets_no_push_and_one_that_came_back_does(end: str) -> None:
    setup = build()
    kept: list[EventContext] = []

    @setup.lobby.on_message("keep", concurrent=True)
    async def keep(ctx: EventContext) -> None:
        kept.append(ctx)

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "keep")
        await settled()
        (ctx,) = kept
        if end == "leave":
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
        else:
            await ctx.evict("out")
        await settled()
        ann.drain()
        await ctx.push("late")
        assert not ctx.connection.push("late", channel=ROOM)
        assert ctx.connection.push("still here")
        assert events(ann) == ["still here"]
        await ann.join(ROOM)
        await ctx.push("again")
        assert events(ann) == ["again"]


async def test_a_codec_of_the_application_gets_pushes_too() -> None:
    pond = PondSocket()
    codec = ArrayCodec()
    endpoint = pond.create_endpoint("/socket", admit, codecs=[codec])

    @endpoint.on_message("ask")
    async def ask(ctx: GatewayContext) -> None:
        await ctx.push("mine", {"n": 1})
        await endpoint.broadcast("all", {"n": 2})
        await pond.push("ann", "hers", {"n": 3})

    async with (
        connect(pond, "/socket?user=ann", codec=codec) as ann,
        connect(pond, "/socket?user=ann") as plain,
    ):
        ann.send("BROADCAST", "GATEWAY", "ask")
        await settled()
        hers = [("GATEWAY", "all", {"n": 2}), ("GATEWAY", "hers", {"n": 3})]
        assert pushed(ann) == [("GATEWAY", "mine", {"n": 1}), *hers]
        assert pushed(plain) == hers


class CountingCodec(ArrayCodec):
    """The array format, which counts what it encodes."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, message: ServerMessage) -> bytes:
        self.encoded.append(message.event)
        return super().encode(message)


class Counted(BaseModel):
    """A payload that counts how often it is dumped."""

    dumps: ClassVar[int] = 0

    @model_serializer
    def dump(self) -> dict[str, int]:
        type(self).dumps += 1
        return {"n": 1}


async def test_what_many_connections_get_is_encoded_once_for_each_format() -> None:
    pond = PondSocket()
    codec = CountingCodec()
    endpoint = pond.create_endpoint("/socket", admit, codecs=[codec])
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(connect(pond, "/socket?user=ann", codec=each))
            for each in (codec, None, codec, None, codec)
        ]
        codec.encoded.clear()
        Counted.dumps = 0
        await endpoint.broadcast("all", Counted())
        assert (codec.encoded, Counted.dumps) == (["all"], 1)
        assert await pond.push("ann", "hers", Counted()) == 5
        assert (codec.encoded, Counted.dumps) == (["all", "hers"], 2)
        for peer in peers:
            assert [payload for _, _, payload in pushed(peer)] == [{"n": 1}] * 2


async def test_a_slow_connection_does_not_delay_a_broadcast_of_the_endpoint() -> None:
    setup = build()
    async with (
        connect(setup.pond, "/socket", capacity=1) as slow,
        connect(setup.pond, "/socket") as quick,
    ):
        quick.drain()
        await setup.endpoint.broadcast("all")
        assert events(quick) == ["all"]
        assert await slow.wait_closed() == 4408


# --- slow consumers ---------------------------------------------------------------------------


async def test_pushes_beyond_the_outbox_close_the_slow_consumer_alone() -> None:
    setup = build_with("close")
    async with connect(setup.pond, "/socket") as ann, connect(setup.pond, "/socket") as bob:
        await join_and_stall(setup, ann, 3)
        bob.drain()
        connection = ann.session.handle
        sent = [connection.push("tick", {"n": n}, channel=ROOM) for n in range(5)]
        assert sent == [True, True, True, False, False]
        assert await ann.wait_closed() == 4408
        assert counted(setup)[Counter.SLOW_CONSUMER] == 1
        assert not connection.is_open
        assert bob.closed is None


async def test_the_policy_of_the_lobby_applies_to_pushes() -> None:
    setup = build_with("drop_oldest")
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 3)
        for n in range(6):
            assert ann.session.handle.push("tick", {"n": n}, channel=ROOM)
        assert [payload["n"] for _, _, payload in pushed(ann)] == [3, 4, 5]


async def test_conflation_applies_to_pushes_as_well() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 16)
        for n in range(40):
            payload: Payload = {"symbol": n % 2, "n": n}
            assert ann.session.handle.push("tick", payload, channel=ROOM)
        assert [payload["n"] for _, _, payload in pushed(ann)][-2:] == [38, 39]
        assert ann.closed is None
        with pytest.raises(UsageError, match="must be hashable"):
            ann.session.handle.push("tick", {"symbol": []}, channel=ROOM)


# --- to a user --------------------------------------------------------------------------------


async def test_a_push_to_a_user_reaches_each_connection_at_every_endpoint() -> None:
    pond = PondSocket()
    for path in ("/socket", "/other"):
        pond.create_endpoint(path, admit)
    async with (
        connect(pond, "/socket?user=7") as tab,
        connect(pond, "/other?user=7", transport="sse") as phone,
        connect(pond, "/socket?user=bob") as bob,
    ):
        assert await pond.push(7, "notice", Progress(percent=1)) == 2
        assert await pond.push("7", "other", path="/other") == 1
        assert await pond.push("carl", "notice") == 0
        notice = ("GATEWAY", "notice", {"percent": 1})
        assert pushed(tab) == [notice]
        assert pushed(phone) == [notice, ("GATEWAY", "other", {})]
        assert pushed(bob) == []
        for path in ("/nowhere", "/:any"):
            with pytest.raises(UsageError, match="There is no endpoint"):
                await pond.push("7", "x", path=path)
        with pytest.raises(UsageError, match="A user's id"):
            await pond.push("", "x")


async def test_a_push_to_a_user_of_one_tenant_stays_there() -> None:
    pond = PondSocket()
    pond.create_endpoint("/:tenant/socket", admit)
    async with (
        connect(pond, "/acme/socket?user=ann") as ours,
        connect(pond, "/rival/socket?user=ann") as theirs,
    ):
        assert await pond.push("ann", "x", path="/acme/socket") == 1
        assert (len(pushed(ours)), len(pushed(theirs))) == (1, 0)
        assert await pond.push("ann", "x") == 2
        with pytest.raises(UsageError, match="is a pattern"):
            await pond.push("ann", "x", path="/:tenant/socket")


async def test_a_slow_connection_is_not_counted_and_does_not_delay_the_others() -> None:
    setup = build()
    async with (
        connect(setup.pond, "/socket?user=ann", capacity=1) as slow,
        connect(setup.pond, "/socket?user=ann") as quick,
    ):
        assert await setup.pond.push("ann", "notice") == 1
        assert len(pushed(quick)) == 1
        assert await slow.wait_closed() == 4408


async def test_the_latest_push_stands_behind_what_was_said_before() -> None:
    setup = build()

    @setup.lobby.on_message("mix")
    async def mix(ctx: EventContext) -> str:
        await ctx.broadcast("one")
        await setup.pond.push("ann", "two")
        await setup.endpoint.broadcast("three")
        await ctx.broadcast("four")
        return "five"

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "mix")
        await settled()
        assert events(ann) == ["one", "two", "three", "four", "mix"]


Call = Callable[[PondSetup], Awaitable[object]]
CALLS: dict[str, Call] = {
    "pond.push": lambda setup: setup.pond.push("ann", "x"),
    "endpoint.broadcast": lambda setup: setup.endpoint.broadcast("x"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_another_threads_event_loop_is_refused_and_told_what_to_call(call: str) -> None:
    setup = build()

    def elsewhere() -> None:
        async def run() -> None:
            await CALLS[call](setup)

        with pytest.raises(UsageError, match="_nowait"):
            anyio.run(run)

    async with connect(setup.pond, "/socket?user=ann") as ann:
        ann.drain()
        await anyio.to_thread.run_sync(elsewhere)
        assert ann.unread == []


async def test_threads_push_to_users_and_broadcast_to_endpoints() -> None:
    setup = build()

    def work() -> None:
        for n in range(3):
            setup.pond.push_nowait("ann", "mine", {"n": n})
            setup.endpoint.broadcast_nowait("all", {"n": n})
        with pytest.raises(UsageError, match="no path of"):
            setup.endpoint.broadcast_nowait("all", path="/elsewhere")

    async with connect(setup.pond, "/socket?user=ann") as ann:
        await anyio.to_thread.run_sync(work)
        await settled()
        assert pushed(ann) == [
            ("GATEWAY", event, {"n": n}) for n in range(3) for event in ("mine", "all")
        ]
        setup.pond.push_nowait("ann", "here")
        setup.endpoint.broadcast_nowait("here, too")
        assert events(ann) == ["here", "here, too"]
