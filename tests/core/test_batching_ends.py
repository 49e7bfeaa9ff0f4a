"""Batching where members are behind, come back, or are too slow."""

from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, History, JoinContext, OutgoingContext, PondSocket
from pondsocket._history.log import HistoryLog
from pondsocket.testing import MemoryPeer
from pondsocket_common import Position

from tests.core.batching import OTHER, batching_setup, do, heard, tell
from tests.core.batching_programs import ManualLoop, batch_by_hand
from tests.core.members import member, members, settled
from tests.core.ponds import ROOM, PondSetup, accept_join, admit, build
from tests.core.slow_consumers import CountingMetrics


async def make_late(ctx: OutgoingContext) -> None:
    await anyio.lowlevel.checkpoint()
    ctx.transform({"for": ctx.get_user().id})


# --- histories --------------------------------------------------------------------------------


async def test_what_waits_when_a_member_comes_back_is_neither_missed_nor_doubled() -> None:
    setup, loop = batching_setup(history=History(size=99))
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        await tell(setup, 1, 2)
        loop.turn()
        since = ann.drain()[-1].position
        await tell(setup, 3)  # kept, and waiting
        ann.send("JOIN_CHANNEL", ROOM, "join", since=since)
        await settled()
        await tell(setup, 4)
        loop.turn()
        # The old membership was there for 3; the new one asked for what came after 2.
        assert heard(ann) == [3, "ACKNOWLEDGE", 3, 4]
        assert heard(bob) == [1, 2, 3, 4]


async def position_of(
    setup: PondSetup, loop: ManualLoop, peer: MemoryPeer, number: int
) -> Position:
    """Where a broadcast of this number stands in the history."""
    await tell(setup, number)
    loop.turn()
    position = peer.drain()[-1].position
    assert isinstance(position, Position)
    return position


async def test_a_member_that_is_behind_has_nothing_wait_and_afterwards_it_does() -> None:
    setup, loop = batching_setup(history=History(size=99))
    async with member(setup, "bob") as bob:
        since = await position_of(setup, loop, bob, 0)
        await tell(setup, *range(1, 21))
        async with member(setup, "ann", OTHER, capacity=8) as ann:
            await ann.join(ROOM, since=since)
            await tell(setup, 21)  # goes out, and into the history where she reads it
            assert heard(bob) == [*range(1, 22)]
            got: list[Any] = []
            while len(got) < 21:
                came = heard(ann)
                assert came
                got += came
            assert got == [*range(1, 22)]
            await tell(setup, 22)
            assert (heard(ann), heard(bob)) == ([], [])
            loop.turn()
            assert (heard(ann), heard(bob)) == ([22], [22])


# --- peers that are too slow ------------------------------------------------------------------


async def test_who_cannot_take_it_is_closed_and_the_others_get_all() -> None:
    setup, loop = batching_setup()
    async with (
        member(setup, "ann") as ann,
        member(setup, "slow", capacity=2) as slow,
        member(setup, "bob") as bob,
    ):
        await tell(setup, 1, 2, 3)
        assert slow.closed is None
        loop.turn()
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        assert (heard(ann), heard(bob)) == ([1, 2, 3], [1, 2, 3])


async def test_that_a_member_was_too_slow_is_told_after_what_it_was_too_slow_for() -> None:
    setup, loop = batching_setup()
    async with members(setup, "ann", "slow", "bob") as (ann, slow, bob):
        await do(slow, "track here")
        heard(ann), heard(bob), heard(slow)
        slow.capacity = 1
        await do(ann, "1", "2", "reply")
        loop.turn()
        assert heard(ann) == [1, 2, "answer", "LEAVE"]
        assert heard(bob) == [1, 2, "LEAVE"]


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("outgoing", [False, True])
async def test_one_that_is_too_slow_in_one_room_goes_from_the_others(
    counted: bool, outgoing: bool
) -> None:
    pond = PondSocket(metrics=CountingMetrics() if counted else None)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join)
    if outgoing:
        lobby.on_outgoing("shout", make_late)
    setup, loop = PondSetup(pond, endpoint, lobby), batch_by_hand(pond)
    async with AsyncExitStack() as connections:
        peers = [
            await connections.enter_async_context(member(setup, user))
            for user in ("ann", "slow", "bob")
        ]
        for peer in peers:
            await peer.join(OTHER)
        peers[1].capacity = 0
        for number in (1, 2):
            await tell(setup, number)
            await tell(setup, -number, name=OTHER)
        loop.turn()
        assert await peers[1].wait_closed() is CloseCode.SLOW_CONSUMER
        assert heard(peers[0]) == heard(peers[2])
        await settled()
        assert await setup.pond.channel("/socket", OTHER).user_count() == 2


async def test_who_is_too_slow_for_what_waits_is_out_when_it_leaves_and_counted_once() -> None:
    setup, _ = batching_setup(history=History(size=9))
    async with member(setup, "ann") as ann, member(setup, "slow") as slow:
        slow.capacity = 1
        await tell(setup, 1, 2)
        slow.send("LEAVE_CHANNEL", ROOM, "leave")
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert await setup.pond.channel("/socket", ROOM).user_count() == 1
        assert heard(ann) == [1, 2]
    assert setup.lobby.history_store is not None
    log = setup.lobby.history_store.find(ROOM, 0.0)
    assert isinstance(log, HistoryLog)
    assert not log.is_in_use


@pytest.mark.parametrize("evicts", [False, True])
async def test_who_is_too_slow_for_what_waits_does_not_come_in_again(evicts: bool) -> None:
    accepted: list[JoinContext] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        accepted.append(ctx)

    setup = build(join)
    loop = batch_by_hand(setup.pond)
    async with member(setup, "ann") as ann, member(setup, "slow") as slow:
        slow.capacity = 1
        await tell(setup, 1, 2)
        if evicts:
            await setup.pond.channel("/socket", ROOM).evict_user("slow")
        else:
            slow.send("JOIN_CHANNEL", ROOM, "join")
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert await setup.pond.channel("/socket", ROOM).user_count() == 1
        assert len(accepted) == 2
        assert heard(ann) == [1, 2]
        await tell(setup, 3)
        loop.turn()
        assert heard(ann) == [3]


async def test_who_is_too_slow_for_its_acknowledgement_leaves_the_room_as_it_was() -> None:
    setup, loop = batching_setup(history=History(size=9))
    async with member(setup, "ann") as ann:
        since = await position_of(setup, loop, ann, 1)
        await tell(setup, 2)
        loop.turn()
        async with member(setup, "slow", OTHER) as slow:
            slow.capacity = 0
            slow.send("JOIN_CHANNEL", ROOM, "join", since=since)
            assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
            await settled()
        heard(ann)
        await tell(setup, 3)
        assert heard(ann) == []  # it waits as ever
        loop.turn()
        assert heard(ann) == [3]
