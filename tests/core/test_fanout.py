"""The fan-out loop, and slow consumers."""

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, EventContext, OutgoingContext
from pondsocket._delivery.fanout import deliver
from pondsocket.adapter import Batch, Frame
from pondsocket_common import PresenceEventTypes, PresenceList

from tests.core.members import events, member, members, say, settled
from tests.core.ponds import ROOM, accept_join, build, join_and_track
from tests.frames import frame_of


class Box:
    """A recipient with room for so many frames."""

    def __init__(self, room: int, others: "list[Box] | None" = None) -> None:
        self.room = room
        self.others = others
        self.taken: list[Frame] = []
        self.closed = False

    def offer(self, frame: Frame) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(frame)
        return True

    def offer_batch(self, batch: Batch) -> bool:
        return all(map(self.offer, batch.frames))

    def overflow(self) -> None:
        self.closed = True
        if self.others is not None:
            self.others.remove(self)


def frame(text: str) -> Frame:
    return frame_of(text.encode(), "say")


def test_everyone_gets_the_very_same_frame() -> None:
    boxes, sent = [Box(1) for _ in range(3)], frame("1")
    deliver(sent, boxes)

    assert all(box.taken[0] is sent for box in boxes)


def test_who_cannot_take_it_is_closed_and_the_others_get_it() -> None:
    boxes = [Box(1), Box(0), Box(1)]
    deliver(frame("1"), boxes)

    assert [len(box.taken) for box in boxes] == [1, 0, 1]
    assert [box.closed for box in boxes] == [False, True, False]


def test_closing_may_take_members_out_of_what_is_iterated() -> None:
    boxes: list[Box] = []
    boxes += [Box(room, boxes) for room in (0, 1, 0, 0, 1)]
    deliver(frame("1"), boxes)

    assert [len(box.taken) for box in boxes] == [1, 1]


# --- slow consumers ---------------------------------------------------------------------------


async def test_a_slow_member_is_closed_and_others_keep_receiving() -> None:
    setup = build()
    async with (
        member(setup, "ann") as ann,
        member(setup, "slow", capacity=3) as slow,
        member(setup, "bob") as bob,
    ):
        for number in range(5):
            say(ann, str(number))
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        assert slow.aborted
        await settled()

        for peer in (ann, bob):
            assert [m.payload for m in peer.drain()] == [{"text": str(n)} for n in range(5)]
        assert [m.event for m in slow.unread] == ["say", "say", "say", "GOODBYE"]
        assert await setup.endpoint.connection_count() == 2


async def test_a_sender_that_does_not_read_is_closed_itself() -> None:
    setup = build()
    async with member(setup, "ann", capacity=2) as ann, member(setup, "bob") as bob:
        for number in range(5):
            say(ann, str(number))
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        # The message that broke it was taken and reaches the others; the next one was not.
        assert [m.payload for m in bob.drain()] == [{"text": str(n)} for n in range(3)]


async def test_unread_answers_make_a_slow_consumer_too() -> None:
    setup = build()
    async with member(setup, "ann", capacity=2) as ann:
        for _ in range(3):
            ann.send_raw('{"action": "ping"}')
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER


async def test_the_others_learn_of_it_after_what_broke_it() -> None:
    setup = build(join_and_track)
    async with (
        member(setup, "slow", capacity=4) as slow,
        member(setup, "ann") as ann,
        member(setup, "bob") as bob,
    ):
        for peer in (slow, ann, bob):
            await settled()
            peer.drain()
        for number in range(5):
            say(ann, str(number))
        await slow.wait_closed()
        await settled()
        for peer in (ann, bob):
            assert events(peer) == ["say"] * 5 + [PresenceEventTypes.LEAVE]


async def test_outgoing_copies_reach_everyone_before_a_slow_one_is_closed() -> None:
    def mark(ctx: OutgoingContext) -> None:
        ctx.transform({"for": ctx.get_user().id})

    setup = build(join_and_track)
    setup.lobby.on_outgoing("say", mark)
    async with members(setup, "slow", "ann", "bob") as (slow, ann, bob):
        await settled()
        for peer in (slow, ann, bob):
            peer.drain()
        slow.capacity = 1
        say(ann, "1")
        say(ann, "2")
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        for peer in (ann, bob):
            assert events(peer) == ["say", "say", PresenceEventTypes.LEAVE]


async def test_a_room_of_stalled_peers_is_closed_one_after_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each closed member is a presence frame more for the rest: nested, it exhausted the stack."""
    setup = build(join_and_track)
    stalled = 150
    async with AsyncExitStack() as stack:
        peers = []
        for number in range(stalled):
            peer = await stack.enter_async_context(member(setup, f"user{number}"))
            peer.drain()
            peers.append(peer)
        ann = await stack.enter_async_context(member(setup, "ann"))
        await settled()
        for number, peer in enumerate(peers):
            peer.drain()
            # So that each frame is one too many for one of them.
            peer.capacity = number
        ann.drain()
        say(ann, "the first straw")
        await settled()

        assert [peer.closed for peer in peers] == [CloseCode.SLOW_CONSUMER] * stalled
        assert ann.closed is None
        assert caplog.text.count("A slow consumer is closed") == stalled
        received = ann.drain()
        assert [m.event for m in received] == ["say"] + ["LEAVE"] * stalled
        last = received[-1].payload
        assert isinstance(last, PresenceList)
        assert last.presence == ({"who": "ann"},)


async def test_peers_that_stall_at_once_are_each_closed_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build(join_and_track)
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(member(setup, f"user{number}")) for number in range(10)
        ]
        ann = await stack.enter_async_context(member(setup, "ann"))
        await settled()
        for peer in peers:
            peer.drain()
            peer.capacity = 0
        say(ann, "too much for all of them")
        await settled()

        assert [peer.closed for peer in peers] == [CloseCode.SLOW_CONSUMER] * 10
        assert caplog.text.count("A slow consumer is closed") == 10


async def test_a_chain_that_meets_a_full_outbox_closes_the_connection() -> None:
    async def wait_a_little(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()

    setup = build(accept_join)
    setup.lobby.on_outgoing("say", wait_a_little)
    async with member(setup, "ann") as ann, member(setup, "slow", capacity=2) as slow:
        for number in range(4):
            say(ann, str(number))
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert events(ann) == ["say"] * 4


async def test_a_member_whose_chain_is_full_is_closed_and_others_are_not() -> None:
    opened = anyio.Event()

    async def stall_bob(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            await opened.wait()

    async def many(ctx: EventContext) -> None:
        for number in range(1_100):
            await ctx.broadcast("tick", {"n": number})
            if number % 100 == 0:
                await anyio.lowlevel.checkpoint()
                await settled()

    setup = build()
    setup.lobby.on_outgoing("tick", stall_bob)
    setup.lobby.on_message("many", many)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        say(ann, "", event="many")
        assert await bob.wait_closed(wait=5) is CloseCode.SLOW_CONSUMER
        await settled()
        assert len(ann.unread) == 1_100
        opened.set()


@pytest.mark.parametrize("name", [ROOM, "/room/2"])
async def test_a_chain_that_hangs_does_not_outlive_its_connection(name: str) -> None:
    async def hang(ctx: OutgoingContext) -> None:
        await anyio.sleep_forever()

    setup = build()
    setup.lobby.on_outgoing("say", hang)
    with anyio.fail_after(2):  # less than the grace that handlers have
        async with member(setup, "ann", name) as ann:
            say(ann, "1", name)
            await settled()
            assert not ann.unread
