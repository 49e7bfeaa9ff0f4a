"""Draining a pond: who is told what, and when it ends."""

import math
import time

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, LeaveReason, Options
from pondsocket.testing import MemoryPeer

from tests.core.members import LeaveLog, events, goodbyes, many_members, member, say, settled
from tests.core.ponds import ROOM, admitted, assert_nothing_left, build
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
    setup = build()
    async with many_members(setup, 30) as peers:
        setup.pond.begin_drain()
        delays = [goodbyes(peer)[0].after_ms or 0 for peer in peers]
        assert delays != sorted(delays)


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
