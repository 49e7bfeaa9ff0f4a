"""What a lobby does where a member reads slower than it is sent to."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    Conflate,
    Counter,
    JoinContext,
    Lobby,
    OutgoingContext,
    PondSocket,
    SlowConsumers,
    UsageError,
    conflate,
)
from pondsocket.testing import connect

from tests.core.batching_programs import ManualLoop
from tests.core.members import events, members, say, settled
from tests.core.ponds import ROOM, PondSetup, accept_join, admit
from tests.core.slow_consumers import (
    CountingMetrics,
    build_with,
    counted,
    join_and_stall,
    numbers,
    overflow_of,
    tell,
)


async def test_without_a_policy_a_slow_member_is_closed() -> None:
    setup = build_with("close")
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 3)
        await tell(setup, *({"n": n} for n in range(4)))
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
    assert counted(setup)[Counter.DROPPED] == 0
    assert counted(setup)[Counter.SLOW_CONSUMER] == 1


async def test_the_oldest_are_dropped_for_a_slow_member_alone() -> None:
    setup = build_with("drop_oldest")
    async with connect(setup.pond, "/socket") as ann, connect(setup.pond, "/socket") as bob:
        await join_and_stall(setup, ann, 3)
        await join_and_stall(setup, bob, 100)
        await tell(setup, *({"n": n} for n in range(10)))
        assert numbers(ann) == [7, 8, 9]
        assert numbers(bob) == list(range(10))
    assert counted(setup)[Counter.DROPPED] == 7
    assert counted(setup)[Counter.SLOW_CONSUMER] == 0


async def test_the_latest_of_every_key_is_kept() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 3)
        await tell(setup, *({"n": n, "symbol": "ABC"[n % 3]} for n in range(9)))
        assert numbers(ann) == [6, 7, 8]
        assert ann.closed is None
    assert counted(setup)[Counter.DROPPED] == 6


async def test_a_key_more_than_there_is_room_for_closes() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await tell(setup, *({"n": n, "symbol": "ABC"[n]} for n in range(3)))
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER


async def test_a_function_may_give_the_key() -> None:
    def key(event: str, payload: Mapping[str, Any]) -> Hashable:
        assert event == "tick"
        return (payload["n"] % 2, "parity")

    setup = build_with(conflate(key))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await tell(setup, *({"n": n} for n in range(7)))
        assert numbers(ann) == [5, 6]


async def test_events_of_two_names_do_not_replace_each_other() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        channel = setup.pond.channel("/socket", ROOM)
        for event in ("bid", "ask", "bid", "ask"):
            await channel.broadcast(event, {"symbol": "A"})
        assert events(ann) == ["bid", "ask"]
        assert ann.closed is None


@pytest.mark.parametrize("payload", [{"symbol": None}, {}])
async def test_an_event_without_a_key_is_never_dropped(payload: dict[str, Any]) -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 3)
        await tell(setup, {"n": 0, **payload}, {"n": 1, "symbol": "A"}, {"n": 2, "symbol": "A"})
        await tell(setup, {"n": 3, **payload})
        assert [m.payload["n"] for m in ann.unread] == [0, 2, 3]  # type: ignore[index]
        await tell(setup, {"n": 4, **payload})
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER


async def test_zero_and_the_empty_text_are_keys() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await tell(setup, *({"n": n, "symbol": ("", 0)[n % 2]} for n in range(6)))
        assert numbers(ann) == [4, 5]


async def test_answers_and_presence_and_what_the_system_says_are_never_dropped() -> None:
    async def track(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"who": ctx.user.id})

    setup = build_with("drop_oldest", track)
    pond = setup.pond
    async with connect(pond, "/socket?user=ann") as ann, connect(pond, "/socket?user=bob") as bob:
        await join_and_stall(setup, ann, 5)
        await tell(setup, *({"n": n} for n in range(5)))
        assert (await bob.join(ROOM)).event == "ACKNOWLEDGE"  # ann sees presence of it
        await ann.session.memberships[ROOM].channel.evict_user("bob")  # type: ignore[attr-defined]
        await settled()
        ann.send_raw('{"action": "ping"}')
        await settled()
        await tell(setup, {"n": 5})
        assert [(str(m.action), m.event) for m in ann.drain()] == [
            ("BROADCAST", "tick"),
            ("PRESENCE", "JOIN"),
            ("PRESENCE", "LEAVE"),
            ("SYSTEM", "PONG"),
            ("BROADCAST", "tick"),
        ]


async def test_an_outbox_full_of_answers_closes_whatever_the_policy() -> None:
    setup = build_with("drop_oldest")
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        for _ in range(2):
            ann.send_raw('{"action": "ping"}')
        await settled()
        await tell(setup, {"n": 0})
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
        assert events(ann) == ["PONG", "PONG", "GOODBYE"]


async def test_a_busy_room_gives_way_to_a_quiet_one_that_may_not_lose() -> None:
    setup = build_with("drop_oldest")
    setup.endpoint.create_channel("/orders/:id", accept_join)
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 100)
        await join_and_stall(setup, ann, 4, "/orders/1")
        await tell(setup, {"n": 0}, name="/orders/1")
        await tell(setup, *({"n": n} for n in range(1, 9)))
        await tell(setup, {"n": 9}, name="/orders/1")
        assert numbers(ann) == [0, 7, 8, 9]


async def test_copies_of_outgoing_handlers_may_be_dropped_as_the_original() -> None:
    setup = build_with("drop_oldest")

    @setup.lobby.on_outgoing("tick")
    def mark(ctx: OutgoingContext) -> None:
        ctx.transform({"n": [ctx.get_payload()["n"]]})

    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await tell(setup, *({"n": n} for n in range(5)))
        assert numbers(ann) == [[3], [4]]


@pytest.mark.parametrize("transforms", [True, False])
async def test_late_copies_may_be_dropped_as_the_original(transforms: bool) -> None:
    setup = build_with(conflate("symbol"))

    @setup.lobby.on_outgoing("tick")
    async def mark(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        if transforms:
            ctx.transform({"n": ctx.get_payload()["n"], "symbol": "of all the same"})

    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await tell(setup, *({"n": n, "symbol": "AB"[n % 2]} for n in range(6)))
        await settled()
        # By the key of what was broadcast, not of what was made of it.
        assert numbers(ann) == [4, 5]
        assert ann.closed is None
        await settled()
    assert not overflow_of(setup)._dropped


@pytest.mark.parametrize("event", ["tick", "first"])
@pytest.mark.parametrize("policy", ["drop_oldest", conflate("symbol")])
async def test_the_policy_applies_behind_an_outgoing_handler_that_hangs(
    policy: SlowConsumers, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether an outgoing handler is to see what waits behind the frame, or it only waits."""
    setup, opened = build_with(policy), anyio.Event()

    @setup.lobby.on_outgoing(event)
    async def hang(ctx: OutgoingContext) -> None:
        await opened.wait()

    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 10_000)
        await setup.pond.channel("/socket", ROOM).broadcast(event, {"n": -1})
        await settled()
        await tell(setup, *({"n": n, "symbol": n % 1_000} for n in range(3_000)))
        assert ann.closed is None
        assert caplog.text.count("misses events from now on") == 1
        opened.set()
        await settled()
        heard = [n for n in numbers(ann) if n >= 0]
        assert 1_000 <= len(heard) <= 1_152
        assert heard[-1_000:] == list(range(2_000, 3_000))
        assert counted(setup)[Counter.DROPPED] == 3_000 - len(heard)
        assert f"missed {3_000 - len(heard)} events" in caplog.text
    assert not overflow_of(setup)._dropped


async def test_large_events_behind_a_handler_that_hangs_are_bounded_in_bytes() -> None:
    setup, opened = build_with("drop_oldest"), anyio.Event()

    @setup.lobby.on_outgoing("tick")
    async def hang(ctx: OutgoingContext) -> None:
        await opened.wait()

    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 10_000)
        await tell(setup, {"n": -1})
        await settled()
        await tell(setup, *({"n": n, "text": "x" * 100_000} for n in range(50)))
        opened.set()
        await settled()
        assert numbers(ann) == [-1, *range(45, 50)]  # 1 MiB, each twice
        assert ann.closed is None


async def test_a_policy_may_be_given_in_all_three_ways() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    made = endpoint.create_channel("/a/:id", accept_join, slow_consumers="drop_oldest")
    decorated = endpoint.channel("/b/:id", slow_consumers=conflate("x"))(accept_join)
    alone = Lobby("/c/:id", accept_join, slow_consumers=conflate("x"))
    endpoint.include(alone)
    assert made.slow_consumers == "drop_oldest"
    assert decorated.slow_consumers == alone.slow_consumers == Conflate("x")
    assert Lobby("/d", accept_join).slow_consumers == "close"


async def test_the_others_get_everything_in_order_whatever_is_dropped() -> None:
    setup = build_with("drop_oldest")
    async with connect(setup.pond, "/socket") as ann, connect(setup.pond, "/socket") as bob:
        await join_and_stall(setup, ann, 1)
        await join_and_stall(setup, bob, 1_000)
        for number in range(100):
            say(bob, str(number))
        await settled()
        texts = [m.payload["text"] for m in bob.drain()]  # type: ignore[index]
        assert texts == [str(n) for n in range(100)]
        assert [m.payload for m in ann.drain()] == [{"text": "99"}]


# --- keys that cannot be ----------------------------------------------------------------------


async def test_a_key_that_cannot_be_hashed_is_an_error_of_the_broadcaster() -> None:
    setup = build_with(conflate("symbol"))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 9)
        with pytest.raises(UsageError, match=r"key of 'tick' is \['A'\]; it must be hashable"):
            await tell(setup, {"n": 1, "symbol": ["A"]})
        assert not ann.unread
        request = ann.send("BROADCAST", ROOM, "say", {"symbol": {}})
        assert (await ann.answer(request)).event == "INTERNAL_SERVER_ERROR"


async def test_a_key_function_that_fails_sends_nothing() -> None:
    def key(event: str, payload: Mapping[str, Any]) -> Hashable:
        symbol: str = payload["symbol"]
        return symbol

    setup = build_with(conflate(key))
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 9)
        with pytest.raises(KeyError):
            await tell(setup, {"n": 1})
        assert not ann.unread
        await tell(setup, {"n": 2, "symbol": "A"})
        assert numbers(ann) == [2]


@pytest.mark.parametrize("key", [None, 5, ["symbol"], ("symbol",), b"symbol"])
def test_what_can_be_no_key_is_refused_at_once(key: Any) -> None:
    with pytest.raises(UsageError, match="a field's name, or a `def` function"):
        conflate(key)
    with pytest.raises(UsageError, match="a field's name, or a `def` function"):
        Conflate(key)


def test_an_asynchronous_key_is_refused_at_once() -> None:
    async def key(event: str, payload: Mapping[str, Any]) -> str:
        return event

    with pytest.raises(UsageError, match="`def` function"):
        conflate(key)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["drop", "", None, 3, ["close"], conflate])
def test_what_is_no_policy_is_refused_at_once(policy: Any) -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    ways: list[Callable[[], object]] = [
        lambda: endpoint.create_channel("/a/:id", accept_join, slow_consumers=policy),
        lambda: endpoint.channel("/a/:id", slow_consumers=policy)(accept_join),
        lambda: Lobby("/a/:id", accept_join, slow_consumers=policy),
    ]
    for register in ways:
        with pytest.raises(UsageError, match=r"'/a/:id': slow_consumers is 'close', 'drop_oldest'"):
            register()
    endpoint.create_channel("/a/:id", accept_join)  # nothing of it was registered


def test_conflate_without_its_key_is_named_in_the_sentence() -> None:
    with pytest.raises(UsageError, match="not 'conflate without its key'"):
        Lobby("/a/:id", accept_join, slow_consumers=conflate)  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [False, True])
async def test_a_metric_that_closes_a_member_costs_no_other_the_event(batches: bool) -> None:
    class ClosingMetrics(CountingMetrics):
        def count(self, counter: Counter, amount: int) -> None:
            super().count(counter, amount)
            if counter is Counter.DROPPED:
                for session in setup.endpoint.sessions.of_user("ann"):
                    session.close(CloseCode.INTERNAL, "drops too much")

    pond = PondSocket(metrics=ClosingMetrics())
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join, slow_consumers="drop_oldest")
    setup = PondSetup(pond, endpoint, lobby)
    loop = ManualLoop()
    if batches:
        pond.enable_batching(lambda: loop)
    async with members(setup, "ann", "bob", "cat") as (ann, bob, cat):
        ann.capacity = 1
        for number in range(3):
            await tell(setup, {"n": number})
            loop.turn()
        assert numbers(bob) == numbers(cat) == [0, 1, 2]
        assert await ann.wait_closed() is CloseCode.INTERNAL
