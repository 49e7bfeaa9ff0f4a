"""The clock of an app's connections: which is asked when, and which hosts it."""

import asyncio
import itertools
import random
import sys

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from pondsocket import Options, PondSocket
from pondsocket_asgi._origins import OriginCheck
from pondsocket_asgi._resume.cursor import CursorKeys
from pondsocket_asgi._transport.heartbeat import BEAT_SECONDS, BEATS_PER_TURN, Heartbeat
from pondsocket_asgi._transport.shared import Shared

from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    connection_loops,
    members,
    turns,
)

anyio_backend = connection_loops


class Listener:
    """A listener of the clock, with a cancel scope of its own, as a connection has."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.heartbeat = heartbeat
        self.beats: list[float] = []
        self.leaves = anyio.Event()
        self.ended = anyio.Event()
        self.entered = anyio.Event()
        self.scope = anyio.CancelScope()
        self.stayed = 0.0

    def beat(self, now: float, interval: float) -> None:
        self.beats.append(now)

    async def run(self) -> None:
        with self.scope:
            async with anyio.create_task_group() as tasks:
                self.heartbeat.add(self, tasks)
                self.entered.set()
                try:
                    await self.leaves.wait()
                finally:
                    self.heartbeat.remove(self)
        self.ended.set()


async def come(tasks: anyio.abc.TaskGroup, heartbeat: Heartbeat) -> Listener:
    listener = Listener(heartbeat)
    tasks.start_soon(listener.run)
    await listener.entered.wait()
    return listener


async def go(listener: Listener, how: str = "by itself") -> None:
    if how == "cancelled":
        listener.scope.cancel()
    else:
        listener.leaves.set()
    with anyio.fail_after(0.1):  # the host of the clock is not held by it
        await listener.ended.wait()


async def test_every_listener_is_asked_about_once_a_second() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        listeners = [await come(tasks, heartbeat) for _ in range(3)]
        await anyio.sleep(10.5)
        assert [len(listener.beats) for listener in listeners] == [10, 10, 10]
        for listener in listeners:
            await go(listener)


@pytest.mark.parametrize("how", ["by itself", "cancelled"])
@pytest.mark.parametrize(
    "order", [order for size in (1, 2, 3, 4) for order in itertools.permutations(range(size))]
)
async def test_the_clock_goes_on_in_whatever_order_they_end(
    order: tuple[int, ...], how: str
) -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        listeners = [await come(tasks, heartbeat) for _ in order]
        began = anyio.current_time()
        for place in order:
            await anyio.sleep(2.3)
            await go(listeners[place], how)
            listeners[place].stayed = anyio.current_time() - began
    for listener in listeners:
        assert len(listener.beats) in (int(listener.stayed), int(listener.stayed - 0.1))
        assert all(gap == pytest.approx(1.0, abs=0.1) for gap in gaps([began, *listener.beats]))
    # The group has ended, so nothing runs any more.
    assert not heartbeat._beating
    assert heartbeat._host is None


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


async def test_hosts_that_follow_upon_each_other_quickly_do_not_stop_the_clock() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        listeners = [await come(tasks, heartbeat) for _ in range(100)]
        for listener in listeners[:-1]:  # the oldest, and so the host, is always the next to go
            await anyio.sleep(0.1)
            await go(listener)
        assert 8 <= len(listeners[-1].beats) <= 10
        assert all(gap == pytest.approx(1.0, abs=0.1) for gap in gaps(listeners[-1].beats))
        await go(listeners[-1])


async def test_those_that_end_in_one_moment_leave_nothing() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        listeners = [await come(tasks, heartbeat) for _ in range(5)]
        last = await come(tasks, heartbeat)
        for listener in listeners:
            listener.leaves.set()
        for listener in listeners:
            await listener.ended.wait()
        last.beats.clear()
        await anyio.sleep(3.5)
        assert len(last.beats) == 3
        await go(last)
    assert not heartbeat._beating


async def test_a_listener_that_comes_after_all_have_gone_starts_it_again() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            listener = await come(tasks, heartbeat)
            await anyio.sleep(2.5)
            assert len(listener.beats) == 2
            await go(listener)


async def test_one_that_leaves_before_the_first_beat_harms_no_other() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        first = await come(tasks, heartbeat)
        second = await come(tasks, heartbeat)
        await go(first)
        await anyio.sleep(1.5)
        assert len(second.beats) == 1
        await go(second)


async def test_one_may_come_while_it_beats() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        late: list[Listener] = []

        class Host(Listener):
            def beat(self, now: float, interval: float) -> None:
                super().beat(now, interval)
                if not late:
                    late.append(Listener(heartbeat))
                    heartbeat.add(late[0], tasks)

        host = Host(heartbeat)
        tasks.start_soon(host.run)
        await anyio.sleep(3.5)
        assert len(host.beats) == 3
        assert len(late[0].beats) == 2
        await go(host)
        await anyio.sleep(2)
        assert len(late[0].beats) >= 3
        heartbeat.remove(late[0])


async def test_the_app_is_asked_at_every_beat_while_there_are_connections() -> None:
    asked: list[int] = []
    heartbeat = Heartbeat(Options(), lambda: asked.append(1))
    async with anyio.create_task_group() as tasks:
        listeners = [await come(tasks, heartbeat) for _ in range(2)]
        await anyio.sleep(3.5)
        assert len(asked) == 3
        for listener in listeners:
            await go(listener)
        await anyio.sleep(10)
        assert len(asked) == 3


class Crowd:
    """Many that are called, in a log with the turns of the loop in between."""

    def __init__(self, heartbeat: Heartbeat, tasks: anyio.abc.TaskGroup, size: int) -> None:
        self.heartbeat = heartbeat
        self.log: list[str] = []
        self.began = anyio.Event()
        self.called: list[Caller] = []
        self.callers = [Caller(self) for _ in range(size)]
        for caller in self.callers:
            heartbeat.add(caller, tasks)

    async def take_turns(self) -> None:
        await self.began.wait()
        while len(self.called) < len(self.callers):
            self.log.append("turn")
            await anyio.lowlevel.checkpoint()

    def leave(self) -> None:
        for caller in self.callers:
            self.heartbeat.remove(caller)


class Caller:
    """One of many that are called."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd

    def beat(self, now: float, interval: float) -> None:
        self.crowd.log.append("beat")
        self.crowd.called.append(self)
        self.crowd.began.set()


async def test_no_turn_of_the_loop_has_more_than_some_calls() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 8 * BEATS_PER_TURN)
        await crowd.take_turns()
        assert crowd.called == crowd.callers
        runs = [len([*run]) for entry, run in itertools.groupby(crowd.log) if entry == "beat"]
        # Both tasks run in a turn, in any order.
        assert max(runs) <= 2 * BEATS_PER_TURN
        crowd.leave()


async def test_a_turn_touches_none_but_those_that_it_calls() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 3 * BEATS_PER_TURN)
        other = crowd.callers[-1]
        references = sys.getrefcount(other)
        await crowd.began.wait()
        assert other not in crowd.called
        assert sys.getrefcount(other) == references  # it is in no list of those that are next
        crowd.leave()


async def test_groups_of_which_few_are_left_become_one() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 8 * BEATS_PER_TURN)
        left = crowd.callers[::5]
        for caller in crowd.callers:
            if caller not in left:
                heartbeat.remove(caller)
        for rounds in (1, 2, 3):
            await anyio.sleep(1.25)
            assert crowd.called == left * rounds
        assert [len(group) for group in heartbeat._groups] == [
            BEATS_PER_TURN,
            len(left) - BEATS_PER_TURN,
        ]
        assert [one for group in heartbeat._groups for one in group] == left
        for caller in left[:-1]:
            heartbeat.remove(caller)
            assert heartbeat._host is left[left.index(caller) + 1]
        crowd.leave()
        assert not heartbeat._beating
        assert not heartbeat._groups


@pytest.mark.parametrize("seed", range(5))
async def test_each_is_called_once_a_round_whichever_come_and_go(seed: int) -> None:
    chance = random.Random(seed)
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 3 * BEATS_PER_TURN)
        await anyio.sleep(0.5)
        for _ in range(20):
            crowd.called.clear()
            await anyio.sleep(1)
            assert crowd.called == crowd.callers
            leaving = chance.choice([0.1, 0.5, 0.9])
            for caller in [one for one in crowd.callers[1:] if chance.random() < leaving]:
                heartbeat.remove(caller)
                crowd.callers.remove(caller)
            for _ in range(chance.choice([1, 50, 2 * BEATS_PER_TURN])):
                crowd.callers.append(Caller(crowd))
                heartbeat.add(crowd.callers[-1], tasks)
        crowd.leave()
        assert not heartbeat._groups


async def test_one_that_another_ends_in_the_same_turn_is_not_called() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:

        class Ending(Listener):
            def beat(self, now: float, interval: float) -> None:
                super().beat(now, interval)
                heartbeat.remove(other)

        ending, other = Ending(heartbeat), Listener(heartbeat)
        heartbeat.add(ending, tasks)
        heartbeat.add(other, tasks)
        await anyio.sleep(2.5)
        assert len(ending.beats) == 2
        assert not other.beats
        heartbeat.remove(ending)


@pytest.mark.parametrize("place", [0, 1, BEATS_PER_TURN, 3 * BEATS_PER_TURN - 1])
async def test_one_that_leaves_in_the_middle_of_a_round_is_not_called_and_the_others_are(
    place: int,
) -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 3 * BEATS_PER_TURN)
        leaving = crowd.callers[place]
        await crowd.began.wait()
        was_called = leaving in crowd.called
        heartbeat.remove(leaving)
        await anyio.sleep(0.5)  # all in one round
        expected = [each for each in crowd.callers if each is not leaving or was_called]
        assert crowd.called == expected
        await anyio.sleep(1)
        assert len(crowd.called) == len(expected) + len(crowd.callers) - 1
        crowd.leave()


async def test_a_round_ends_with_its_last_connection() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 4 * BEATS_PER_TURN)
        await crowd.began.wait()
        crowd.leave()
        assert not heartbeat._ahead  # nothing that has ended is kept
        late = await come(tasks, heartbeat)
        began = anyio.current_time()
        await anyio.sleep(1.5)
        assert gaps([began, *late.beats]) == pytest.approx([1.0], abs=0.1)
        await go(late)


async def test_all_may_leave_in_the_moment_in_which_a_round_begins() -> None:
    heartbeat = Heartbeat(Options())
    async with anyio.create_task_group() as tasks:
        due = anyio.current_time() + 2 * BEAT_SECONDS
        left: list[Listener] = []

        async def take_away() -> None:
            await anyio.sleep_until(due)
            heartbeat.remove(left[0])

        tasks.start_soon(take_away)  # before the clock's task, so that it is woken before that
        await anyio.sleep_until(due - BEAT_SECONDS)
        left.append(Listener(heartbeat))
        heartbeat.add(left[0], tasks)
        await anyio.sleep(5)
        assert len(left[0].beats) <= 1


async def test_the_app_is_asked_once_a_round_of_many() -> None:
    asked: list[int] = []
    heartbeat = Heartbeat(Options(), lambda: asked.append(1))
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(heartbeat, tasks, 4 * BEATS_PER_TURN)
        await anyio.sleep(2.5)
        assert len(asked) == 2
        crowd.leave()


@pytest.mark.parametrize(
    ("options", "interval"),
    [
        (Options(), BEAT_SECONDS),
        (Options(heartbeat_seconds=None), BEAT_SECONDS),
        (Options(write_timeout=0.4), 0.1),
        (Options(sse_keepalive_seconds=0.2), 0.05),
        (Options(heartbeat_seconds=2), 0.5),
    ],
)
def test_short_limits_are_looked_at_more_often(options: Options, interval: float) -> None:
    assert Heartbeat(options)._interval == pytest.approx(interval)


# --- what it is for ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [25.0, 1.0, 0.05])
async def test_an_idle_websocket_carries_a_heartbeat(seconds: float) -> None:
    setup = PondSetup(heartbeat_seconds=seconds)
    async with members(setup, "websocket", "ann") as (ann,):
        before = len(ann.messages())
        await anyio.sleep(seconds * 4.5)
        beats = ann.messages()[before:]
        assert {(m["action"], m["event"], m["channelName"]) for m in beats} == {
            ("SYSTEM", "PONG", "GATEWAY")
        }
        assert 4 <= len(beats) <= 7


async def test_a_heartbeat_is_never_later_than_its_limit() -> None:
    setup = PondSetup(heartbeat_seconds=25)
    async with members(setup, "websocket", "ann", "bob") as (ann, bob):
        for pause in range(50):
            before = len(ann.messages())
            await anyio.sleep(25 - pause / 100 if pause % 2 else 25)
            assert len(ann.messages()) > before
            await setup.tell(pause)
            await turns()
        assert ann.events().count("PONG") == bob.events().count("PONG") == 50


async def test_a_client_that_is_written_to_needs_no_heartbeat() -> None:
    setup = PondSetup(heartbeat_seconds=10)
    async with members(setup, "websocket", "ann") as (ann,):
        for number in range(20):
            await anyio.sleep(5)
            await setup.tell(number)
        assert ann.events().count("PONG") == 0


async def test_heartbeats_may_be_switched_off() -> None:
    setup = PondSetup(heartbeat_seconds=None)
    async with members(setup, "websocket", "ann") as (ann,):
        before = len(ann.messages())
        await anyio.sleep(600)
        assert len(ann.messages()) == before


async def test_a_server_that_pings_often_enough_needs_no_heartbeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pondsocket_asgi._transport.websocket.ping_seconds", lambda uvicorn: 20.0)
    setup = PondSetup(heartbeat_seconds=25)
    async with members(setup, "websocket", "ann") as (ann,):
        await anyio.sleep(300)
        assert "PONG" not in ann.events()
    setup = PondSetup(heartbeat_seconds=15)
    async with members(setup, "websocket", "ann") as (ann,):
        await anyio.sleep(300)
        assert "PONG" in ann.events()


async def test_an_idle_stream_carries_comments_and_no_events() -> None:
    setup = PondSetup(sse_keepalive_seconds=15)
    async with members(setup, "sse", "ann") as (ann,):
        before, heard = len(ann.bodies()), len(ann.messages())
        await anyio.sleep(15 * 4.5)
        comments = ann.bodies()[before:]
        assert 4 <= len(comments) <= 6
        assert all(comment.startswith(b":") for comment in comments)
        assert len(ann.messages()) == heard


async def test_a_busy_stream_carries_none() -> None:
    setup = PondSetup(sse_keepalive_seconds=15)
    async with members(setup, "sse", "ann") as (ann,):
        before = len(ann.bodies())
        for number in range(20):
            await anyio.sleep(10)
            await setup.tell(number)
        assert not any(body.startswith(b":") for body in ann.bodies()[before:])


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_said_into_a_write_that_hangs(kind: Kind) -> None:
    setup = PondSetup(sse_keepalive_seconds=1, heartbeat_seconds=1, write_timeout=30)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(1)
        await anyio.sleep(20)
        (outbox,) = setup.heartbeat._beating
        assert outbox.pending == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_clock_survives_the_end_of_its_host(kind: Kind) -> None:
    setup = PondSetup(heartbeat_seconds=10, sse_keepalive_seconds=10, write_timeout=10)
    async with members(setup, kind, "ann", "bob", "eve") as (ann, bob, eve):
        assert setup.heartbeat._host is next(iter(setup.heartbeat._beating))
        ann.scope.cancel()
        await ann.ended.wait()
        bob.stall()
        await setup.tell(1)
        await bob.ended.wait()  # given up, by the clock
        before = len(eve.sent)
        await anyio.sleep(25)
        assert len(eve.sent) > before


@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_that_is_given_up_by_its_own_clock_hands_it_on(kind: Kind) -> None:
    setup = PondSetup(write_timeout=10, heartbeat_seconds=10, sse_keepalive_seconds=10)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        ann.stall()
        await setup.tell(1)
        await ann.ended.wait()
        assert len(setup.heartbeat._beating) == 1
        before = len(bob.sent)
        await anyio.sleep(25)
        assert len(bob.sent) > before


@pytest.mark.parametrize("kind", KINDS)
async def test_leaving_in_a_crowd_leaves_nothing(kind: Kind) -> None:
    setup = PondSetup()
    connections = [ASGIConnection(setup, kind, f"user{number}") for number in range(20)]
    async with anyio.create_task_group() as tasks:
        for connection in connections:
            tasks.start_soon(connection.run)
        await turns()
        for place, connection in enumerate(connections):
            if place % 3 == 0:
                connection.scope.cancel()
            elif place % 3 == 1:
                connection.leave()
            else:
                connection.fail()
                connection.leave()
    assert not setup.heartbeat._beating
    assert setup.heartbeat._host is None
    assert await setup.endpoint.connection_count() == 0


def test_each_loop_has_a_clock_of_its_own_whichever_was_asked_last() -> None:
    pond = PondSocket()
    shared = Shared(pond, OriginCheck(pond), CursorKeys())

    async def ask() -> Heartbeat:
        assert shared.heartbeat is shared.heartbeat
        return shared.heartbeat

    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(ask()), other.run(ask())
        third = anyio.run(ask, backend="trio")
        assert len({first, second, third}) == 3
        assert [one.run(ask()), other.run(ask())] == [first, second]
