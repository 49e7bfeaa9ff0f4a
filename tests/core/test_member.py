"""The states of a membership, and the sink that each of them chooses."""

from itertools import product
from typing import Any, Final

import pytest
from pondsocket import OutgoingContext, Position
from pondsocket._channel.ahead import AheadSink
from pondsocket._channel.catch_up import CatchUp
from pondsocket._channel.channel import ChannelMember
from pondsocket._channel.member import MEMBER_STATES, MemberEvent, MemberState
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.ordered import OrderedDelivery
from pondsocket._history.slice import HistorySlice
from pondsocket.testing import MemoryPeer

from tests.core.histories import build_with_history, heard
from tests.core.members import channel_of, member
from tests.core.ponds import PondSetup

FOLLOWING: Final = {
    (MemberState.LIVE, MemberEvent.FALL_BEHIND): MemberState.CATCHING_UP,
    (MemberState.LIVE, MemberEvent.GET_AHEAD): MemberState.AHEAD,
    (MemberState.LIVE, MemberEvent.END): MemberState.ENDED,
    (MemberState.CATCHING_UP, MemberEvent.CATCH_UP): MemberState.LIVE,
    (MemberState.CATCHING_UP, MemberEvent.GET_AHEAD): MemberState.AHEAD,
    (MemberState.CATCHING_UP, MemberEvent.END): MemberState.ENDED,
    (MemberState.AHEAD, MemberEvent.END_AHEAD): MemberState.LIVE,
    (MemberState.AHEAD, MemberEvent.END): MemberState.ENDED,
}


def outgoing(ctx: OutgoingContext) -> None:
    """Leave the event as it is."""


async def outgoing_later(ctx: OutgoingContext) -> None:
    """Leave the event as it is."""


def setup_of(*, is_ordered: bool = False) -> PondSetup:
    setup = build_with_history()
    if is_ordered:
        setup.lobby.on_outgoing("*", outgoing_later)
    return setup


def state_of(found: ChannelMember) -> MemberState:
    """Return its state, of which the type checker may not think that it stays."""
    return found.state


async def member_of(setup: PondSetup) -> ChannelMember:
    (found,) = (await channel_of(setup)).roster
    return found


def history_of(count: int) -> HistorySlice:
    found = HistorySlice("e1")
    for number in range(1, count + 1):
        found.add("said", f"r{number}", b'{"n":%d}' % number)
    return found


def frame_at(offset: int | None, epoch: str = "e1") -> Frame:
    position = None if offset is None else Position(epoch, offset)
    return Frame.broadcast("/room/1", "said", "r", b'{"n":%d}' % (offset or 0), position)


def sink_of(found: ChannelMember) -> Any:
    """Return the sink whose methods the member offers to."""
    methods: tuple[Any, Any] = (found.offer, found.offer_batch)
    sinks = [each.__self__ for each in methods]
    assert sinks[0] is sinks[1]
    return sinks[0]


@pytest.mark.parametrize(("state", "event"), [*product(MemberState, MemberEvent)])
def test_each_event_in_each_state(state: MemberState, event: MemberEvent) -> None:
    assert MEMBER_STATES.get((state, event)) is FOLLOWING.get((state, event))


def fill(peer: MemoryPeer) -> None:
    """Leave no room for what a member reads."""
    peer.capacity = 1


@pytest.mark.parametrize("is_ordered", [False, True])
async def test_each_state_chooses_its_sink(is_ordered: bool) -> None:
    setup = setup_of(is_ordered=is_ordered)
    async with member(setup, "ann") as ann:
        found = await member_of(setup)
        live: Any = found.ordered_delivery if is_ordered else ann
        assert isinstance(live, OrderedDelivery | MemoryPeer)

        assert (state_of(found), sink_of(found)) == (MemberState.LIVE, live)
        ann.offer(frame_at(None))
        fill(ann)
        found.catch_up(history_of(3), 1, may_be_ahead=True)
        assert state_of(found) is MemberState.CATCHING_UP
        assert isinstance(sink_of(found), CatchUp)
        assert sink_of(found) is found.history_sink
        ann.capacity = 1_000
        ann.drain()  # so there is room, and it reads on
        assert state_of(found) is MemberState.AHEAD
        assert isinstance(sink_of(found), AheadSink)
        assert sink_of(found) is found.history_sink
        assert found.offer(frame_at(4))
        assert (state_of(found), found.history_sink) == (MemberState.LIVE, None)
        assert sink_of(found) is live
        found.end()
        assert (state_of(found), found.is_current) == (MemberState.ENDED, False)
        assert sink_of(found) is (live if is_ordered else found.session)


async def test_a_member_that_has_read_all_of_a_history_that_is_not_late_is_live() -> None:
    setup = setup_of()
    async with member(setup, "ann") as ann:
        found = await member_of(setup)
        found.catch_up(history_of(3), 3)
        assert state_of(found) is MemberState.LIVE
        found.catch_up(history_of(3), 1)
        assert state_of(found) is MemberState.LIVE
        assert heard(ann) == [2, 3]


async def test_a_member_that_is_ahead_drops_what_it_has_read_and_passes_the_rest() -> None:
    setup = setup_of()
    async with member(setup, "ann") as ann:
        found = await member_of(setup)
        found.catch_up(history_of(3), 3, may_be_ahead=True)
        assert state_of(found) is MemberState.AHEAD
        for frame in (frame_at(2), frame_at(None), frame_at(9, "e0"), frame_at(3)):
            assert found.offer(frame)
        assert heard(ann) == [0, 9]
        assert state_of(found) is MemberState.AHEAD
        # A batch that ends it half-way.
        assert found.offer_batch(Batch([frame_at(3), frame_at(4), frame_at(5)]))
        assert heard(ann) == [4, 5]
        assert state_of(found) is MemberState.LIVE


@pytest.mark.parametrize("handler", [outgoing, outgoing_later])
async def test_a_member_that_is_ahead_gets_copies_of_what_it_has_not_read(handler: Any) -> None:
    setup = build_with_history()
    setup.lobby.on_outgoing("said", handler)
    async with member(setup, "ann") as ann:
        found = await member_of(setup)
        found.catch_up(history_of(3), 3, may_be_ahead=True)
        interception = setup.lobby.interception("said")
        assert interception is not None
        for offset in (3, 4):
            frame = frame_at(offset)
            assert found.offer_copy(interception.bind({"n": offset}, frame), frame)
        assert (await ann.receive()).position == Position("e1", 4)
        assert heard(ann) == []
        assert state_of(found) is MemberState.LIVE


@pytest.mark.parametrize("state", ["catching up", "ahead"])
async def test_a_member_that_ends_is_neither_behind_nor_ahead(state: str) -> None:
    setup = setup_of()
    async with member(setup, "ann") as ann:
        found = await member_of(setup)
        if state == "catching up":
            ann.offer(frame_at(None))
            fill(ann)
        found.catch_up(history_of(3), 1, may_be_ahead=True)
        assert found.history_sink is not None
        ann.capacity = 1_000
        found.offer(frame_at(None))
        found.end()
        assert found.history_sink is None
        assert heard(ann) == ([0, 0] if state == "catching up" else [2, 3, 0])
        channel = await channel_of(setup)
        assert channel.batching._pauses == 0
        found.catch_up(history_of(3), 1)
        assert heard(ann) == []
