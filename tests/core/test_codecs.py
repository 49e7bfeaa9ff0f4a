"""Two wire formats in one channel: what each client gets, and how often a message is encoded."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import anyio.lowlevel
import pydantic
import pytest
from pondsocket import (
    CloseCode,
    Counter,
    EventContext,
    GatewayContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    ServerActions,
    ServerMessage,
    SystemEvents,
    conflate,
)
from pondsocket.adapter import Frame
from pondsocket.testing import FakeClock, MemoryPeer, connect
from pondsocket_common import (
    POND,
    Acknowledged,
    ClientCodec,
    ErrorTypes,
    Evicted,
    Fault,
    Goodbye,
    MessageParts,
    NotFound,
    PondCodec,
    Position,
    PresenceDiff,
    PresenceEntry,
    PresenceList,
    PresenceMode,
    Refused,
)

from tests.array_codec import ARRAY, KINDS, ArrayCodec
from tests.core.batching_programs import ManualLoop, batch_by_hand
from tests.core.members import events, settled
from tests.core.ponds import (
    ROOM,
    SECRET,
    UNLIMITED,
    PondSetup,
    accept_join,
    admit,
    logged_error,
    relay,
)
from tests.core.slow_consumers import CountingMetrics

CODECS = pytest.mark.parametrize("codec", [POND, ARRAY], ids=["pond", "array"])


class Third(ArrayCodec):
    """The array format once more, as another format."""

    name = "third"


THIRD = Third()


def setup_of(
    join: Callable[..., Any] = accept_join,
    *,
    options: Options = UNLIMITED,
    pond: PondSocket | None = None,
    **lobby: Any,
) -> PondSetup:
    pond = PondSocket(options=options) if pond is None else pond
    endpoint = pond.create_endpoint("/socket", admit, codecs=[ARRAY, THIRD])
    room = endpoint.create_channel("/room/:id", join, **lobby)
    room.on_message("say", relay)
    return PondSetup(pond, endpoint, room)


@asynccontextmanager
async def pair(
    setup: PondSetup, *, capacity: int = 100_000, join: bool = True
) -> AsyncIterator[tuple[MemoryPeer, MemoryPeer]]:
    """Yield ann, who speaks pond, and bob, who speaks arrays, members of one room."""
    async with (
        connect(setup.pond, "/socket?user=ann", capacity=capacity) as ann,
        connect(setup.pond, "/socket?user=bob", capacity=capacity, codec=ARRAY) as bob,
    ):
        for peer in (ann, bob):
            if join:
                assert (await peer.join(ROOM)).event == SystemEvents.ACKNOWLEDGE
        await settled()
        for peer in (ann, bob):
            peer.drain()
        yield ann, bob


def wire(peer: MemoryPeer) -> list[Any]:
    """Return the unread messages as they are on the wire, parsed."""
    return [json.loads(frame.encoded) for frame in peer._frames]


async def ask(peer: MemoryPeer, event: str, name: str = ROOM, **payload: Any) -> ServerMessage:
    return await peer.answer(peer.send("BROADCAST", name, event, payload))


# --- answers ----------------------------------------------------------------------------------


async def test_each_client_is_greeted_in_its_format() -> None:
    async with (
        connect(setup_of().pond, "/socket?user=ann") as ann,
        connect(setup_of().pond, "/socket?user=bob", codec=ARRAY) as bob,
    ):
        ((greeting,), (array,)) = wire(ann), wire(bob)
        assert greeting["payload"] == {"id": "ann", "connectionId": ann.session.connection_id}
        assert (KINDS[array[0]], array[2:4]) == ("CONNECT", ["GATEWAY", "CONNECTION"])
        assert array[4] == {"id": "bob", "connection-id": bob.session.connection_id}


async def join_as_told(ctx: JoinContext) -> None:
    match ctx.join_params.get("how"):
        case "decline":
            await ctx.decline(403, "Not you")
        case "error":
            raise PondError("Not now", code=409)
        case "crash":
            raise LookupError
        case "silent":
            pass
        case _:
            await ctx.accept(response={"your_name": ctx.user.id})


class Window(pydantic.BaseModel):
    from_row: int
    to_row: int


async def join_with_window(ctx: JoinContext, window: list[Window]) -> None:
    await ctx.accept()


async def test_an_accepted_join_has_the_response_of_the_application() -> None:
    async with pair(setup_of(join_as_told), join=False) as peers:
        for peer, user in zip(peers, ("ann", "bob"), strict=True):
            answer = await peer.join(ROOM)
            assert answer.payload == Acknowledged(response={"your_name": user})


@pytest.mark.parametrize("how", ["decline", "error", "crash", "silent"])
async def test_a_refused_join_is_told_to_both(how: str) -> None:
    async with pair(setup_of(join_as_told), join=False) as (ann, bob):
        answers = [await peer.join(ROOM, {"how": how}) for peer in (ann, bob)]
        assert [each.event for each in answers] == [SystemEvents.UNAUTHORIZED] * 2
        assert answers[0].payload == answers[1].payload
        assert isinstance(answers[0].payload, Refused)


async def test_parameters_that_do_not_fit_are_told_in_detail() -> None:
    async with pair(setup_of(join_with_window), join=False) as (ann, bob):
        payloads = [
            (await peer.join(ROOM, {"window": [{"from_row": "x"}]})).payload for peer in (ann, bob)
        ]
        assert payloads[0] == payloads[1]
        assert isinstance(payloads[0], Refused)
        assert payloads[0].error_count == 2
        assert payloads[0].details is not None
        # The names of the application's own fields are never changed.
        assert [each.loc for each in payloads[0].details] == [
            ("window", 0, "from_row"),
            ("window", 0, "to_row"),
        ]
        bob.send("JOIN_CHANNEL", ROOM, "join", {})
        await settled()
        ((*_, payload),) = wire(bob)
        assert payload.keys() == {"code", "message", "details", "error-count"}


async def test_an_unknown_channel_is_told_to_both() -> None:
    async with pair(setup_of()) as (ann, bob):
        answers = [await peer.join("/nowhere") for peer in (ann, bob)]
        assert [each.event for each in answers] == [SystemEvents.NOT_FOUND] * 2
        assert answers[0].payload == answers[1].payload
        assert isinstance(answers[0].payload, NotFound)


def setup_of_handlers() -> PondSetup:
    setup = setup_of()

    @setup.lobby.on_message("pond error")
    async def pond_error(ctx: EventContext) -> None:
        raise PondError("No such card", code=404)

    @setup.lobby.on_message("crash")
    async def crash(ctx: EventContext) -> None:
        raise LookupError

    @setup.lobby.on_message("window")
    async def window(ctx: EventContext, window: list[Window]) -> None: ...

    @setup.lobby.on_message("echo")
    async def echo(ctx: EventContext) -> None:
        await ctx.reply("answer", {"seen_by": [{"user_id": ctx.user.id}], "x": ctx.get_payload()})

    @setup.endpoint.on_message("hello")
    async def hello(ctx: GatewayContext) -> dict[str, str]:
        return {"to_you": "hello"}

    return setup


async def test_replies_reach_the_one_who_asked() -> None:
    async with pair(setup_of_handlers()) as (ann, bob):
        for peer, user in ((ann, "ann"), (bob, "bob")):
            answer = await ask(peer, "echo", n=[{"a_b": None}])
            assert (answer.action, answer.event) == (ServerActions.SYSTEM, "answer")
            assert answer.payload == {"seen_by": [{"user_id": user}], "x": {"n": [{"a_b": None}]}}
            assert (await ask(peer, "hello", "GATEWAY")).payload == {"to_you": "hello"}
        assert events(ann) == events(bob) == []


@pytest.mark.parametrize(
    ("event", "name", "code"),
    [
        ("pond error", ROOM, 404),
        ("crash", ROOM, 500),
        ("unknown", ROOM, 404),
        ("unknown", "GATEWAY", 404),
        ("window", ROOM, 422),
        ("say", "/room/2", 403),
    ],
)
async def test_errors_are_the_same_for_both(event: str, name: str, code: int) -> None:
    async with pair(setup_of_handlers()) as (ann, bob):
        answers = [await ask(peer, event, name) for peer in (ann, bob)]
        assert answers[0].payload == answers[1].payload
        assert answers[0].event == answers[1].event
        assert isinstance(answers[0].payload, Fault)
        assert answers[0].payload.code == code


async def test_what_breaks_the_protocol_is_answered_with_the_names_of_the_format() -> None:
    async with pair(setup_of()) as (ann, bob):
        ann.send_raw('{"action":"BROADCAST","event":"say","channelName":"/room/1","requestId":"1"}')
        bob.send_raw('[3,"1","/room/1","say"]')
        bob.send_raw('[3,"2","room","say",{}]')
        bob.send_raw('[3,"3","/room/1",5,{}]')
        bob.send_raw('[1,"4","/room/1","join",{},["epoch",-1]]')
        bob.send_raw('{"action":"ping"}')
        bob.send_raw("[")
        await settled()
        assert [m.payload for m in ann.drain()] == [
            Fault(ErrorTypes.INVALID_MESSAGE, 400, "payload: must be an object.")
        ]
        answers = bob.drain()
        assert [m.request_id for m in answers[:4]] == ["1", "2", "3", "4"]
        assert [m.event for m in answers] == [
            *[ErrorTypes.INVALID_MESSAGE] * 3,
            SystemEvents.UNAUTHORIZED,
            *[ErrorTypes.INVALID_MESSAGE] * 2,
        ]
        reasons = [m.payload.message for m in answers if isinstance(m.payload, Fault | Refused)]
        assert [reason.partition(":")[0] for reason in reasons] == [
            "payload",
            "channel",
            "event",
            "since",
            "A message is an array of 1 to 7.",
            "The message is not valid JSON",
        ]


async def test_both_are_told_that_they_are_too_fast() -> None:
    options = Options(event_rate=1.0, event_burst=1, control_rate=1.0, control_burst=2)
    pond = PondSocket(options=options, clock=FakeClock())
    async with pair(setup_of(pond=pond)) as (ann, bob):
        for peer in (ann, bob):
            await ask(peer, "unknown")
        faults = [(await ask(peer, "unknown")).payload for peer in (ann, bob)]
        assert faults[0] == faults[1]
        assert isinstance(faults[0], Fault)
        assert (faults[0].code, faults[0].retry_after_ms) == (429, 1_000)
        for peer in (ann, bob):
            peer.send_raw('{"action":"ping"}' if peer is ann else "[0]")
        await settled()
        refused = [(await peer.join("/room/2")).payload for peer in (ann, bob)]
        assert refused[0] == refused[1]
        assert isinstance(refused[0], Refused)
        assert refused[0].retry_after_ms is not None


async def test_pings_are_answered() -> None:
    async with pair(setup_of()) as (ann, bob):
        ann.send_raw('{"action":"ping","requestId":"7"}')
        bob.send_raw('[0,"7"]')
        bob.send_raw("[0]")
        await settled()
        (pong,) = ann.drain()
        assert bob.drain()[0] == pong


async def test_both_are_told_that_the_server_closes_them() -> None:
    setup = setup_of()
    async with pair(setup) as (ann, bob):
        for user in ("ann", "bob"):
            await setup.pond.disconnect(user_id=user)
        assert await ann.wait_closed() is await bob.wait_closed() is CloseCode.DISCONNECTED
        goodbyes = [peer.drain()[-1].payload for peer in (ann, bob)]
        assert goodbyes[0] == goodbyes[1]
        assert isinstance(goodbyes[0], Goodbye)


# --- broadcasts -------------------------------------------------------------------------------


async def test_a_broadcast_is_the_same_message_for_both() -> None:
    async with pair(setup_of()) as (ann, bob):
        for sender in (ann, bob):
            sender.send("BROADCAST", ROOM, "say", {"a_b": [{"c_d": None}], "n": 2**64 - 1})
            await settled()
            (heard,), (also,) = ann.drain(), bob.drain()
            assert heard == also
            assert heard.action is ServerActions.BROADCAST
            assert heard.payload == {"a_b": [{"c_d": None}], "n": 2**64 - 1}


async def test_broadcasts_to_some_and_from_some() -> None:
    setup = setup_of()

    @setup.lobby.on_message("spread")
    async def spread(ctx: EventContext) -> None:
        await ctx.broadcast_from("from", {"by": ctx.user.id})
        await ctx.broadcast_to("to", {"by": ctx.user.id}, "ann")
        await ctx.broadcast_to("to", {"by": ctx.user.id}, "bob")

    async with pair(setup) as (ann, bob):
        bob.send("BROADCAST", ROOM, "spread")
        await settled()
        assert [(m.event, m.payload) for m in ann.drain()] == [
            ("from", {"by": "bob"}),
            ("to", {"by": "bob"}),
        ]
        assert events(bob) == ["to"]
        await setup.pond.channel("/socket", ROOM).broadcast_from("x", {}, "ann")
        assert (events(ann), events(bob)) == ([], ["x"])


@pytest.mark.parametrize("is_async", [False, True])
async def test_outgoing_handlers_see_the_payload_and_not_the_format(is_async: bool) -> None:
    setup = setup_of()

    def look(ctx: OutgoingContext) -> None:
        if ctx.get_payload().get("for_all"):
            return
        if ctx.get_user().id == ctx.get_payload().get("but"):
            ctx.block()
        ctx.transform({"for_you": ctx.get_user().id, **ctx.get_payload()})

    async def look_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        look(ctx)

    setup.lobby.on_outgoing("say", look_later if is_async else look)
    async with pair(setup) as (ann, bob):
        for payload in ({}, {"but": "ann"}, {"but": "bob"}, {"for_all": True}):
            ann.send("BROADCAST", ROOM, "say", payload)
        ann.send("BROADCAST", ROOM, "unknown")
        await settled()
        heard = [m for m in ann.drain() if m.event == "say"]
        also = bob.drain()
        assert [m.payload for m in heard] == [
            {"for_you": "ann"},
            {"for_you": "ann", "but": "bob"},
            {"for_all": True},
        ]
        assert [m.payload for m in also] == [
            {"for_you": "bob"},
            {"for_you": "bob", "but": "ann"},
            {"for_all": True},
        ]
        assert heard[0].request_id == also[0].request_id
        assert heard[-1] == also[-1]


async def test_an_evicted_member_is_told_the_reason() -> None:
    setup = setup_of()
    async with pair(setup) as (ann, bob):
        for user in ("ann", "bob"):
            await setup.pond.channel("/socket", ROOM).evict_user(user, "no_reason")
        payloads = [[m.payload for m in peer.drain()] for peer in (ann, bob)]
        assert payloads == [[Evicted("no_reason")]] * 2


async def test_a_client_that_leaves_is_told_so() -> None:
    async with pair(setup_of()) as (_, bob):
        request = bob.send("LEAVE_CHANNEL", ROOM, "leave")
        assert (await bob.answer(request)).event == SystemEvents.EXIT_ACKNOWLEDGE


# --- presence ---------------------------------------------------------------------------------


def setup_with_presence() -> PondSetup:
    setup = setup_of(options=Options(presence_tick=60.0, event_rate=None))

    @setup.lobby.on_message("show")
    async def show(ctx: EventContext) -> None:
        await ctx.track(ctx.get_payload())

    @setup.lobby.on_message("hide")
    async def hide(ctx: EventContext) -> None:
        await ctx.untrack()

    return setup


async def test_lists_of_presence_are_the_same_for_both() -> None:
    async with pair(setup_with_presence()) as (ann, bob):
        ann.send("BROADCAST", ROOM, "show", {"is_away": {"since_ms": 1}})
        await settled()
        bob.send("BROADCAST", ROOM, "show", {"n": 1})
        bob.send("BROADCAST", ROOM, "show", {"n": 2})
        bob.send("BROADCAST", ROOM, "hide")
        await settled()
        heard, also = ann.drain(), bob.drain()
        assert heard == also
        assert [m.event for m in heard] == ["JOIN", "JOIN", "UPDATE", "LEAVE"]
        assert heard[2].payload == PresenceList(({"is_away": {"since_ms": 1}}, {"n": 2}), {"n": 2})


async def test_differences_of_presence_are_the_same_for_both() -> None:
    async with pair(setup_with_presence(), join=False) as (ann, bob):
        ann.send("JOIN_CHANNEL", ROOM, "join", presence=PresenceMode.DIFF)
        ann.send("BROADCAST", ROOM, "show", {"is_away": {"since_ms": 1}})
        ann.send("BROADCAST", ROOM, "say")  # brings the difference first
        await settled()
        assert events(ann)[-2:] == ["DIFF", "say"]
        answer = await bob.join(ROOM, presence=PresenceMode.DIFF)
        assert isinstance(answer.payload, Acknowledged)
        assert answer.payload.presence is not None
        (entry,) = answer.payload.presence.joins
        assert isinstance(entry, PresenceEntry)
        assert (entry.user, entry.presence) == ("ann", {"is_away": {"since_ms": 1}})
        bob.drain()
        ann.send("BROADCAST", ROOM, "show", {"is_away": False})
        await settled()
        bob.send("BROADCAST", ROOM, "show", {"n": 1})
        bob.send("BROADCAST", ROOM, "say")
        await settled()
        heard, also = ann.drain(), bob.drain()
        assert heard == also
        assert [m.event for m in heard] == ["DIFF", "say"]
        assert isinstance(heard[0].payload, PresenceDiff)
        assert [each.presence for each in heard[0].payload.joins] == [{"n": 1}]
        assert [each.presence for each in heard[0].payload.updates] == [{"is_away": False}]


# --- history ----------------------------------------------------------------------------------


async def say(setup: PondSetup, *numbers: int, **options: Any) -> None:
    for number in numbers:
        await setup.pond.channel("/socket", ROOM).broadcast("said", {"n": number}, **options)


def numbers_of(peer: MemoryPeer) -> list[Any]:
    return [m.payload["n"] for m in peer.drain() if m.event == "said"]  # type: ignore[index]


async def known_position(setup: PondSetup) -> Position:
    async with connect(setup.pond, "/socket?user=reader", codec=THIRD) as reader:
        payload = (await reader.join(ROOM)).payload
    assert isinstance(payload, Acknowledged)
    assert payload.epoch is not None
    assert payload.offset is not None
    return Position(payload.epoch, payload.offset)


async def test_both_have_the_same_positions() -> None:
    setup = setup_of(history=History())
    async with pair(setup) as (ann, bob):
        await say(setup, 1, 2)
        await say(setup, 3, history=False)
        await settled()
        array = wire(bob)
        heard, also = ann.drain(), bob.drain()
        assert heard == also
        assert [m.position and m.position.offset for m in heard] == [1, 2, None]
        assert [len(each) for each in array] == [7, 7, 5]


@CODECS
async def test_each_recovers_what_was_said_in_any_format(codec: ClientCodec) -> None:
    setup = setup_of(history=History())
    since = await known_position(setup)
    async with pair(setup) as (ann, bob):
        for number, peer in enumerate((ann, bob, ann)):
            peer.send("BROADCAST", ROOM, "say", {"n": number})
            await settled()
        live = ann.drain()
    async with connect(setup.pond, "/socket?user=cat", codec=codec) as cat:
        cat.drain()
        answer = await cat.join(ROOM, since=since)
        assert isinstance(answer.payload, Acknowledged)
        assert answer.payload.recovered is True
        await settled()
        assert cat.drain() == live
        answer = await cat.join(ROOM, since=Position("another", 1))
        assert isinstance(answer.payload, Acknowledged)
        assert answer.payload.recovered is False
    assert await setup.pond.channel("/socket", ROOM).history() == live


@CODECS
async def test_a_member_with_a_small_outbox_catches_up(codec: ClientCodec) -> None:
    setup = setup_of(history=History(size=100))
    since = await known_position(setup)
    await say(setup, *range(90))
    async with connect(setup.pond, "/socket?user=ann", capacity=6, codec=codec) as ann:
        ann.drain()
        answer = await ann.join(ROOM, since=since)
        assert isinstance(answer.payload, Acknowledged)
        assert answer.payload.recovered is True
        assert 0 < ann.pending <= 3
        await say(setup, 90)
        await say(setup, 91, history=False)
        ann.send("BROADCAST", ROOM, "unknown")
        await settled()
        heard = [await ann.receive() for _ in range(93)]
        assert [m.payload["n"] for m in heard[:92]] == [*range(92)]  # type: ignore[index]
        assert isinstance(heard[92].payload, Fault)
        assert ann.closed is None


@CODECS
@pytest.mark.parametrize("is_async", [False, True])
async def test_outgoing_handlers_see_what_is_recovered(codec: ClientCodec, is_async: bool) -> None:
    setup = setup_of(history=History())

    def add(ctx: OutgoingContext) -> None:
        ctx.transform({**ctx.get_payload(), "for_you": ctx.get_user().id})

    async def add_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        add(ctx)

    setup.lobby.on_outgoing("said", add_later if is_async else add)
    since = await known_position(setup)
    await say(setup, 1, 2)
    async with connect(setup.pond, "/socket?user=ann", codec=codec) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        await settled()
        assert [m.payload for m in ann.drain()] == [
            {"n": 1, "for_you": "ann"},
            {"n": 2, "for_you": "ann"},
        ]


# --- batching and slow consumers --------------------------------------------------------------


async def test_what_is_batched_reaches_both_in_order() -> None:
    setup = setup_of(history=History())

    @setup.lobby.on_message("mixed")
    async def mixed(ctx: EventContext) -> None:
        await ctx.broadcast("said", {"n": 1})
        await ctx.reply("answer", {"n": 2})
        await ctx.broadcast_from("said", {"n": 3})
        await ctx.broadcast("said", {"n": 4})

    loop = batch_by_hand(setup.pond)
    async with pair(setup) as (ann, bob):
        loop.turn()
        bob.send("BROADCAST", ROOM, "mixed")
        await settled()
        loop.turn()
        assert [m.payload for m in ann.drain()] == [{"n": 1}, {"n": 3}, {"n": 4}]
        assert [m.payload for m in bob.drain()] == [{"n": 1}, {"n": 2}, {"n": 4}]
        await say(setup, 5, 6)
        assert (ann.pending, bob.pending) == (0, 0)
        loop.turn()
        assert ann.drain() == bob.drain()


@pytest.mark.parametrize("policy", ["drop_oldest", conflate("key")])
async def test_the_same_is_dropped_whatever_the_format(policy: Any) -> None:
    setup = setup_of(slow_consumers=policy)
    channel = setup.pond.channel("/socket", ROOM)
    async with pair(setup) as (ann, bob):
        for peer in (ann, bob):
            peer.capacity = 4
        for number in range(12):
            await channel.broadcast("said", {"n": number, "key": number % 2})
        assert ann.drain() == bob.drain() != []
        assert (ann.closed, bob.closed) == (None, None)
        await say(setup, 12)
        assert numbers_of(ann) == numbers_of(bob) == [12]


async def test_a_slow_client_is_closed_and_the_others_are_not() -> None:
    setup = setup_of()
    async with pair(setup) as (ann, bob):
        bob.capacity = 2
        await say(setup, 1, 2, 3)
        assert await bob.wait_closed() is CloseCode.SLOW_CONSUMER
        assert numbers_of(ann) == [1, 2, 3]
        assert numbers_of(bob) == [1, 2]


async def test_a_codec_that_fails_closes_its_own_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decode = ArrayCodec.decode

    def fail(self: ArrayCodec, data: str | bytes, **options: bool) -> Any:
        if data == "[0]":
            raise LookupError(SECRET)
        return decode(self, data, **options)

    with patch.object(ArrayCodec, "decode", fail):
        async with pair(setup_of()) as (ann, bob):
            bob.send_raw("[0]")
            assert await bob.wait_closed() is CloseCode.INTERNAL
            assert SECRET not in bob.reason
            assert (ann.closed, events(ann)) == (None, [])
    assert logged_error(caplog).startswith("A connection failed")


async def test_a_codec_that_fails_at_a_post_answers_it_and_closes_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError(SECRET)

    async with pair(setup_of()) as (ann, bob):
        with patch.object(ArrayCodec, "decode_batch", fail):
            refusal = bob.session.post(b"[0]")
        assert refusal is not None
        assert (refusal.status, SECRET in refusal.message) == (500, False)
        assert await bob.wait_closed() is CloseCode.INTERNAL
        assert ann.closed is None
    assert logged_error(caplog).startswith("A connection failed")


@pytest.mark.parametrize("batches", [False, True])
async def test_a_codec_that_fails_at_a_broadcast_costs_its_own_clients_that_event(
    batches: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise LookupError(SECRET)

    setup = setup_of()
    loop = ManualLoop()
    if batches:
        setup.pond.enable_batching(lambda: loop)
    async with (
        pair(setup) as (ann, bob),
        connect(setup.pond, "/socket?user=cat") as cat,
    ):
        await cat.join(ROOM)
        with patch.object(ArrayCodec, "encode", fail):
            await say(setup, 1, 2)
            loop.turn()
        await say(setup, 3)
        loop.turn()
        assert numbers_of(ann) == numbers_of(cat) == [1, 2, 3]
        assert numbers_of(bob) == [3]
    failures = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(failures) == 2
    assert failures[0].getMessage().startswith("The codec 'array' failed")


def failing_codec() -> Any:
    """Let the array format's codec fail at all that the server sends, while the block runs."""

    def fail(*_: object) -> bytes:
        raise LookupError(SECRET)

    return patch.object(ArrayCodec, "encode", fail)


@pytest.mark.parametrize("encoded", [b"\xff", "text", None])
@pytest.mark.parametrize("batches", [False, True])
async def test_a_codec_that_gives_no_text_costs_its_own_clients_that_event(
    encoded: object, batches: bool
) -> None:
    setup = setup_of()
    loop = ManualLoop()
    if batches:
        setup.pond.enable_batching(lambda: loop)
    async with pair(setup) as (_, bob), connect(setup.pond, "/socket?user=cat") as cat:
        await cat.join(ROOM)
        offer = bob.offer

        def write(frame: Frame) -> bool:
            assert isinstance(frame.text, str)  # as a transport reads it
            return offer(frame)

        with (
            patch.object(bob, "offer", write),
            patch.object(ArrayCodec, "encode", lambda *_: encoded),
        ):
            await say(setup, 1)
            loop.turn()
        await say(setup, 2)
        loop.turn()
        assert numbers_of(cat) == [1, 2]
        assert numbers_of(bob) == [2]


async def test_a_codec_that_fails_does_not_keep_others_from_being_told_of_a_restart() -> None:
    setup = setup_of()
    async with AsyncExitStack() as stack:
        bobs = [
            await stack.enter_async_context(connect(setup.pond, "/socket?user=bob", codec=ARRAY))
            for _ in range(4)
        ]
        ann = await stack.enter_async_context(connect(setup.pond, "/socket?user=ann"))
        ann.drain()
        with failing_codec():
            setup.pond.begin_drain(0.01)
            assert (await ann.receive()).event == SystemEvents.GOODBYE
            for peer in (*bobs, ann):
                assert await peer.wait_closed() is CloseCode.RESTART


async def test_a_codec_that_fails_at_a_heartbeat_does_not_disturb_the_clock() -> None:
    async with pair(setup_of()) as (ann, bob):
        with failing_codec():
            for peer in (bob, ann):
                peer.session.heartbeat()
        assert events(ann) == [SystemEvents.PONG]
        assert (bob.pending, bob.closed) == (0, None)


async def test_a_codec_that_fails_does_not_keep_others_from_being_evicted() -> None:
    setup, left = setup_of(), list[str]()

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    async with (
        connect(setup.pond, "/socket?user=ann", codec=ARRAY) as one,
        connect(setup.pond, "/socket?user=ann") as other,
    ):
        for peer in (one, other):
            await peer.join(ROOM)
        other.drain()
        with failing_codec():
            await setup.pond.channel("/socket", ROOM).evict_user("ann")
        assert events(other) == [SystemEvents.EVICTED]
        assert left == ["ann"]


async def test_a_codec_that_fails_at_the_greeting_closes_its_own_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = setup_of()
    with failing_codec():
        async with connect(setup.pond, "/socket?user=bob", codec=ARRAY) as bob:
            assert await bob.wait_closed() is CloseCode.INTERNAL
    assert await setup.endpoint.connection_count() == 0
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert errors[0].startswith("A connection failed")


@pytest.mark.parametrize("how", ["leave", "disconnect"])
async def test_a_codec_that_fails_keeps_no_connection_from_ending(how: str) -> None:
    setup, left = setup_of(), list[str]()

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    async with pair(setup) as (_, bob):
        with failing_codec():
            if how == "leave":
                bob.send("LEAVE_CHANNEL", ROOM, "leave")
            else:
                await setup.pond.disconnect(user_id="bob")
            code = await bob.wait_closed()
        await settled()
        assert code is (CloseCode.INTERNAL if how == "leave" else CloseCode.DISCONNECTED)
        assert left == ["bob"]


# --- how often something is encoded -----------------------------------------------------------


class Card(pydantic.BaseModel):
    given_name: str = "Ann"
    dumped: int = 0

    @pydantic.model_serializer(mode="wrap")
    def _count(self, handler: Any) -> Any:
        self.dumped += 1
        return handler(self)


@contextmanager
def counting_encodes() -> Iterator[dict[str, int]]:
    """Count the messages that each codec encodes."""
    counts = {"pond": 0, "array": 0, "third": 0}
    encode_pond, encode_array = PondCodec.encode, ArrayCodec.encode

    def of_pond(message: MessageParts) -> bytes:
        counts["pond"] += 1
        return encode_pond(message)

    def of_array(self: ArrayCodec, message: ServerMessage) -> bytes:
        counts[self.name] += 1
        return encode_array(self, message)

    with (
        patch("pondsocket._delivery.frame._encode_pond", of_pond),
        patch.object(ArrayCodec, "encode", of_array),
    ):
        yield counts


@asynccontextmanager
async def crowd(setup: PondSetup) -> AsyncIterator[list[MemoryPeer]]:
    """Yield two members of each of three formats."""
    async with (
        pair(setup) as (ann, bob),
        pair(setup) as (cat, dan),
        connect(setup.pond, "/socket?user=eve", codec=THIRD) as eve,
        connect(setup.pond, "/socket?user=fay", codec=THIRD) as fay,
    ):
        await eve.join(ROOM)
        await fay.join(ROOM)
        peers = [ann, bob, cat, dan, eve, fay]
        for peer in peers:
            peer.drain()
        yield peers


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("is_batched", [False, True])
async def test_a_broadcast_is_encoded_once_and_its_envelope_once_a_format(
    is_kept: bool, is_batched: bool
) -> None:
    setup = setup_of(history=History() if is_kept else None)
    loop = batch_by_hand(setup.pond) if is_batched else None
    async with crowd(setup) as peers:
        if loop is not None:
            loop.turn()
        card = Card()
        with counting_encodes() as counts:
            await setup.pond.channel("/socket", ROOM).broadcast("said", {"card": card})
            await setup.pond.channel("/socket", ROOM).broadcast("said", {"n": 2})
            if loop is not None:
                loop.turn()
            heard = [peer.drain() for peer in peers]
        assert card.dumped == 1
        assert counts == {"pond": 2, "array": 2, "third": 2}
        assert all(each == heard[0] for each in heard)
        assert [m.payload for m in heard[0]] == [
            {"card": {"given_name": "Ann", "dumped": 1}},
            {"n": 2},
        ]


async def test_presence_is_encoded_once_a_format() -> None:
    setup = setup_with_presence()
    async with crowd(setup) as peers:
        with counting_encodes() as counts:
            peers[0].send("BROADCAST", ROOM, "show", {"n": 1})
            await settled()
        assert counts["array"] == counts["third"] == 1
        heard = [peer.drain() for peer in peers]
        assert all(each == heard[0] != [] for each in heard)


@pytest.mark.parametrize("codec", [POND, ARRAY, THIRD], ids=["pond", "array", "third"])
async def test_a_reply_is_encoded_once_in_its_format_alone(codec: ClientCodec) -> None:
    setup = setup_of()
    cards: list[Card] = []

    @setup.lobby.on_message("card")
    async def card(ctx: EventContext) -> dict[str, Card]:
        cards.append(Card())
        return {"card": cards[-1]}

    async with connect(setup.pond, "/socket", codec=codec) as ann:
        await ann.join(ROOM)
        await ask(ann, "card")
    assert [each.dumped for each in cards] == [1]


async def test_a_transformed_copy_is_encoded_once() -> None:
    setup = setup_of()
    cards: dict[str, Card] = {}

    def give(ctx: OutgoingContext) -> None:
        cards[ctx.get_user().id] = card = Card()
        ctx.transform({"card": card})

    setup.lobby.on_outgoing("said", give)
    async with pair(setup) as (ann, bob):
        with counting_encodes() as counts:
            await say(setup, 1)
            assert len(ann.drain()) == len(bob.drain()) == 1
        assert [each.dumped for each in cards.values()] == [1, 1]
        assert counts == {"pond": 1, "array": 1, "third": 0}


async def test_frames_and_bytes_are_counted_in_each_format() -> None:
    metrics = CountingMetrics()
    setup = setup_of(pond=PondSocket(options=UNLIMITED, metrics=metrics))
    loop = batch_by_hand(setup.pond)
    async with pair(setup) as (ann, bob):
        loop.turn()
        for peer in (ann, bob):
            peer.drain()
        metrics.counts.clear()
        await say(setup, 1, 2, 3)
        loop.turn()
        assert metrics.counts[Counter.FRAMES_OUT] == 6
        arrays = sum(len(frame.encoded) for frame in bob._frames)
        ponds = sum(len(frame.encoded) for frame in ann._frames)
        assert metrics.counts[Counter.BYTES_OUT] == arrays + ponds
        assert numbers_of(ann) == numbers_of(bob) == [1, 2, 3]
        metrics.counts.clear()
        await ask(bob, "unknown")
        assert metrics.counts[Counter.FRAMES_OUT] == 1
