"""Draining a pond: who is told what, and when it ends."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, LeaveReason, Options
from pondsocket._serving.drain import CLOSES_PER_TURN, TELLS_PER_TURN
from pondsocket.adapter import Session
from pondsocket.testing import MemoryPeer

from tests.core.members import LeaveLog, events, goodbyes, many_members, member, say, settled
from tests.core.ponds import ROOM, PondSetup, admitted, assert_nothing_left, build
from tests.virtual_time import jumping_loops

# A window of ten seconds takes none.
anyio_backend = jumping_loops


async def closed_at(peer: MemoryPeer) -> float:
    await peer.wait_closed(wait=60)
    return anyio.current_time()


# --- what members see -------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["begin_drain", "drain"])
async def test_every_client_is_told_at_once_when_the_end_comes_and_it_comes_then(way: str) -> None:
    setup = build()
    async with many_members(setup, 30) as peers, anyio.create_task_group() as tasks:
        began = anyio.current_time()
        if way == "drain":
            tasks.start_soon(setup.pond.drain)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        else:
            setup.pond.begin_drain()
        told = [goodbyes(peer) for peer in peers]
        assert all(peer.closed is None for peer in peers[:1])

        ends: dict[MemoryPeer, float] = {}

        async def note(peer: MemoryPeer) -> None:
            ends[peer] = await closed_at(peer)

        async with anyio.create_task_group() as noting:
            for peer in peers:
                noting.start_soon(note, peer)
        for peer, (goodbye,) in zip(peers, told, strict=True):
            assert (goodbye.code, goodbye.reconnect) == (CloseCode.RESTART, True)
            assert goodbye.after_ms is not None
            seconds = ends[peer] - began
            assert seconds <= goodbye.after_ms / 1_000 + 1e-6 <= seconds + 0.0011  # rounded up
            assert peer.closed is CloseCode.RESTART
            assert not goodbyes(peer)  # it is told once
        assert len({goodbye.after_ms for (goodbye,) in told}) > 15


@pytest.mark.parametrize(
    ("connections", "seconds", "window"),
    [(1, None, 0.01), (30, None, 0.3), (30, 0.1, 0.1), (30, 0.0, 0.0), (30, -5.0, 0.0)],
)
async def test_the_window_grows_with_the_connections_up_to_its_limit(
    connections: int, seconds: float | None, window: float
) -> None:
    setup = build(options=Options(drain_seconds=10))
    async with many_members(setup, connections) as peers:
        setup.pond.begin_drain(seconds)
        delays = sorted(goodbye.after_ms or 0 for peer in peers for goodbye in goodbyes(peer))
        assert len(delays) == connections
        assert all(0 <= delay <= math.ceil(window * 1_000) for delay in delays)
        # In slices: every part of the window has its share.
        for place, delay in enumerate(delays):
            slice_ms = window * 1_000 / connections
            assert place * slice_ms <= delay <= math.ceil((place + 1) * slice_ms)


async def test_options_bound_the_window() -> None:
    setup = build(options=Options(drain_seconds=0.02))
    async with many_members(setup, 20) as peers:
        setup.pond.begin_drain()
        assert all(goodbyes(peer)[0].after_ms in range(21) for peer in peers)


async def test_the_order_is_not_that_in_which_they_came() -> None:
    orders = []
    for _ in range(2):
        setup = build()
        async with many_members(setup, 30) as peers:
            setup.pond.begin_drain()
            delays = [goodbyes(peer)[0].after_ms or 0 for peer in peers]
            orders.append(sorted(range(30), key=delays.__getitem__))
    assert orders[0] != orders[1]


async def test_until_its_moment_a_connection_is_served_as_ever() -> None:
    setup = build()
    async with many_members(setup, 2) as (ann, bob):
        setup.pond.begin_drain()
        say(ann, "still here")
        await anyio.lowlevel.checkpoint()
        for peer in (ann, bob):
            assert (await peer.receive_event("say")).payload == {"text": "still here"}
        assert (await ann.join("/room/2")).event == "ACKNOWLEDGE"


async def test_memberships_end_at_the_close_not_at_the_announcement() -> None:
    leaves = LeaveLog()
    setup = build()
    setup.lobby.on_leave(leaves)
    async with member(setup, "ann") as ann:
        setup.pond.begin_drain()
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.has_user("ann")
        del channel
        await ann.wait_closed()
        await settled()
        assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
        await assert_nothing_left(setup)


async def test_one_that_goes_by_itself_before_its_moment_is_not_waited_for() -> None:
    setup = build()
    async with many_members(setup, 3) as peers:
        setup.pond.begin_drain()
        for peer in peers:
            peer.vanish()
        before = anyio.current_time()
        await setup.pond.drain()
        assert anyio.current_time() - before < 0.03
        assert {peer.closed for peer in peers} == {CloseCode.NORMAL}


# --- in pieces --------------------------------------------------------------------------------


class Noted:
    """When clients were told, for when, and when connections were closed."""

    def __init__(self) -> None:
        self.tells: dict[Session, float] = {}
        self.promised: dict[Session, float] = {}
        self.closes: dict[Session, float] = {}


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Note the times. Those of one turn of the loop are the same: virtual time stands still."""
    noted = Noted()
    announce, close = Session.announce_restart, Session.close

    def note_tell(session: Session, seconds: float) -> bool:
        now = noted.tells[session] = anyio.current_time()
        noted.promised[session] = now + seconds
        return announce(session, seconds)

    def note_close(session: Session, code: CloseCode, reason: str = "") -> None:
        noted.closes[session] = anyio.current_time()
        close(session, code, reason)

    monkeypatch.setattr(Session, "announce_restart", note_tell)
    monkeypatch.setattr(Session, "close", note_close)
    return noted


@asynccontextmanager
async def crowd(setup: PondSetup, count: int) -> AsyncIterator[list[MemoryPeer]]:
    """Yield so many clients, who have joined nothing."""
    async with anyio.create_task_group() as tasks:
        peers: list[MemoryPeer] = []
        for number in range(count):
            session = await admitted(setup.pond, f"user{number}")
            peers.append(MemoryPeer(session))
            tasks.start_soon(session.run, peers[-1], peers[-1].pull)
        await settled()
        for peer in peers:
            peer.drain()
        yield peers
        for peer in peers:
            peer.vanish()


@pytest.mark.parametrize("is_entered", [False, True])
@pytest.mark.parametrize("seconds", [None, 0.0])
async def test_no_turn_of_the_loop_tells_or_closes_more_than_some(
    noted: Noted, seconds: float | None, is_entered: bool
) -> None:
    setup = build(options=Options(drain_seconds=0.5))
    count = 5 * TELLS_PER_TURN
    async with AsyncExitStack() as stack:
        if is_entered:
            await stack.enter_async_context(setup.pond)
        peers = await stack.enter_async_context(crowd(setup, count))
        began = anyio.current_time()
        await setup.pond.drain(seconds)
        assert all(peer.closed is CloseCode.RESTART for peer in peers)
        assert [len(goodbyes(peer)) for peer in peers] == [1] * count
        assert len(noted.tells) == len(noted.closes) == count
        assert max(Counter(noted.tells.values()).values()) <= TELLS_PER_TURN
        assert max(Counter(noted.closes.values()).values()) <= CLOSES_PER_TURN
        # All are told in the beginning, although the last one is closed at the end.
        assert max(noted.tells.values()) - began < 0.01
        assert max(noted.closes.values()) - began < 0.51
        await assert_nothing_left(setup)


async def test_one_told_later_is_told_how_long_it_is_from_then(noted: Noted) -> None:
    setup = build(options=Options(drain_seconds=1))
    async with crowd(setup, 3 * TELLS_PER_TURN):
        await setup.pond.drain()
        assert len(set(noted.tells.values())) >= 3
        assert noted.closes == pytest.approx(noted.promised, abs=0.0011)


async def test_a_drain_starts_one_task() -> None:
    setup = build()
    async with crowd(setup, 30) as peers:
        before = len(anyio.get_running_tasks())
        setup.pond.begin_drain()
        await settled()
        assert len(anyio.get_running_tasks()) == before + 1
        await setup.pond.drain()
        assert all(peer.closed for peer in peers)


@pytest.mark.parametrize("count", [30, 3 * TELLS_PER_TURN])
async def test_a_drain_goes_on_whichever_connections_end_by_themselves(count: int) -> None:
    setup = build(options=Options(drain_seconds=0.3))
    async with crowd(setup, count) as peers, anyio.create_task_group() as tasks:
        staying = peers[::3]
        tasks.start_soon(setup.pond.drain)
        for peer in peers:
            if peer not in staying:
                peer.vanish()
                await anyio.sleep(0.001)
        for peer in staying:
            assert await peer.wait_closed() is CloseCode.RESTART
            assert len(goodbyes(peer)) == 1


async def test_those_not_told_yet_are_told_although_all_others_have_gone() -> None:
    setup = build()
    async with crowd(setup, 2 * TELLS_PER_TURN) as peers:
        setup.pond.begin_drain()
        untold: list[MemoryPeer] = []
        for peer in peers:
            if goodbyes(peer):
                peer.vanish()
            else:
                untold.append(peer)
        assert len(untold) == TELLS_PER_TURN
        for peer in untold:
            assert await peer.wait_closed(wait=60) is CloseCode.RESTART
            assert len(goodbyes(peer)) == 1


async def test_a_client_that_was_told_of_a_later_end_is_served_until_then() -> None:
    setup = build()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        began = anyio.current_time()
        ann.session.close_for_restart(5)
        setup.pond.begin_drain()
        assert await closed_at(bob) - began <= 0.02
        assert await closed_at(ann) - began == pytest.approx(5, abs=0.001)


async def test_the_task_of_a_drain_ends_when_the_pond_is_closed() -> None:
    setup = build(options=Options(drain_seconds=60))
    async with setup.pond, crowd(setup, 30):
        before = len(anyio.get_running_tasks()) - 30
        setup.pond.begin_drain(60)
        await setup.pond.close()
        await anyio.sleep(0.05)  # until it would close the next one or two
        assert len(anyio.get_running_tasks()) == before


async def test_a_close_in_the_middle_of_a_drain_leaves_nothing_of_it() -> None:
    setup = build(options=Options(drain_seconds=0.5))
    async with crowd(setup, 3 * TELLS_PER_TURN) as peers:
        setup.pond.begin_drain()
        await setup.pond.close()
        told = [[goodbye.code for goodbye in goodbyes(peer)] for peer in peers]
        assert told.count([CloseCode.RESTART, CloseCode.GOING_AWAY]) == TELLS_PER_TURN
        assert told.count([CloseCode.GOING_AWAY]) == 2 * TELLS_PER_TURN
        await anyio.sleep(1)
        assert not any(goodbyes(peer) for peer in peers)


# --- one goodbye for each reason --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "count"),
    [
        (CloseCode.RESTART, 1),
        (CloseCode.NORMAL, 1),
        (CloseCode.SLOW_CONSUMER, 2),
        (CloseCode.GOING_AWAY, 2),
        (CloseCode.DISCONNECTED, 2),
    ],
)
async def test_a_close_of_another_reason_in_a_drain_is_told_besides(
    code: CloseCode, count: int
) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        setup.pond.begin_drain()
        ann.session.close(code, "meanwhile")
        assert await ann.wait_closed() is code
        told = goodbyes(ann)
        assert [goodbye.code for goodbye in told] == [CloseCode.RESTART, code][:count]
        assert told[-1].after_ms == (0 if count == 2 else told[0].after_ms)


async def test_the_announcement_may_be_the_last_straw_of_a_slow_consumer() -> None:
    setup = build()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.capacity = 0
        setup.pond.begin_drain()
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
        assert [goodbye.code for goodbye in goodbyes(ann)] == [CloseCode.SLOW_CONSUMER]
        assert await bob.wait_closed() is CloseCode.RESTART


async def test_departing_twice_is_departing_once() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        ann.session.close_for_restart(0.5)
        ann.session.close_for_restart(0.0)
        began = anyio.current_time()
        assert await closed_at(ann) - began == pytest.approx(0.5, abs=0.05)
        assert [goodbye.after_ms for goodbye in goodbyes(ann)] == [500]


@pytest.mark.parametrize("state", ["admitted", "closing", "over"])
async def test_only_an_open_connection_departs(state: str) -> None:
    setup = build()
    if state == "admitted":
        session = await admitted(setup.pond)
        session.close_for_restart(0)
        peer = MemoryPeer(session)
        peer.vanish()
        await session.run(peer, peer.pull)
        assert events(peer) == ["CONNECTION"]
        return
    async with member(setup, "ann") as ann:
        ann.session.close(CloseCode.DISCONNECTED)
        if state == "over":
            await ann.session.wait_ended()
        ann.session.close_for_restart(0)
        await ann.wait_closed()
        assert [goodbye.code for goodbye in goodbyes(ann)] == [CloseCode.DISCONNECTED]


async def test_virtual_time_takes_no_time() -> None:
    """Or all of the above would take a minute."""
    began, really = anyio.current_time(), time.monotonic()
    await anyio.sleep(3600)
    assert anyio.current_time() - began >= 3600
    assert time.monotonic() - really < 5


async def test_a_drain_outside_of_a_task_raises_and_begins_nothing(
    anyio_backend_name: str,
) -> None:
    setup = build()
    async with many_members(setup, 3) as peers:
        if anyio_backend_name == "asyncio":
            raised: list[BaseException] = []

            def call() -> None:
                try:
                    setup.pond.begin_drain()
                except Exception as error:  # noqa: BLE001 - whatever it is
                    raised.append(error)

            asyncio.get_running_loop().call_soon(call)
            await settled()
            # Where anyio finds the loop in a callback, it has begun.
            assert setup.pond.is_draining is (not raised)
        if not setup.pond.is_draining:
            setup.pond.begin_drain()
        for peer in peers:
            await closed_at(peer)
            assert len(goodbyes(peer)) == 1
