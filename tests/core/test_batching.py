"""What is broadcast in one turn of the loop leaves together: when, and what it waits for."""

import threading

import pytest
from pondsocket import CloseCode, History, PondSocket
from pondsocket._delivery.batching import ChannelBatching, LoopTurn
from pondsocket.adapter import Batch, Frame

from tests.core.batching import OTHER, batching_setup, heard, tell
from tests.core.batching_programs import ManualLoop, batch_by_hand
from tests.core.members import member, settled
from tests.core.ponds import ROOM, PondSetup, accept_join, admit, build
from tests.core.slow_consumers import CountingMetrics
from tests.frames import frame_of

# --- what waits, and for how long -------------------------------------------------------------


async def test_what_one_turn_brings_is_handed_out_in_one_piece_by_the_next() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        batches: list[Batch] = []
        for peer in (ann, bob):
            (joined,) = peer.session.memberships.values()
            joined.offer_batch = batches.append  # type: ignore[attr-defined]
        await tell(setup, 1, 2, 3)
        assert (heard(ann), heard(bob)) == ([], [])
        assert len(loop.calls) == 1
        loop.turn()
    first, second = batches
    assert first is second
    assert len(first.frames) == 3


async def test_one_alone_is_handed_out_as_it_is() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        loop.turn()
        assert heard(ann) == [1]
        await tell(setup, 2)
        loop.turn()
        assert heard(ann) == [2]


async def test_without_a_loop_nothing_waits() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        assert heard(ann) == [1]
        setup.pond.enable_batching(lambda: None)
        await tell(setup, 2)
        assert heard(ann) == [2]


@pytest.mark.parametrize(("count", "size"), [(64, 0), (8, 8_192)])
async def test_much_does_not_wait_for_the_turn(count: int, size: int) -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        await tell(setup, *range(count - 1), size=size)
        assert heard(ann) == []
        await tell(setup, count - 1, size=size)
        assert heard(ann) == [*range(count)]
        await tell(setup, 100)
        assert heard(ann) == []
        loop.turn()
        assert heard(ann) == [100]


async def test_nor_do_many_replies() -> None:
    loop_turn, taken = LoopTurn(), Taker()
    loop_turn.enable(ManualLoop)
    room = ChannelBatching([taken], loop_turn)
    room.broadcast(frame_of(b"1", "tick"))
    for _ in range(65_535):
        room.send(frame_of(b"2", "answer"), taken)
    assert len(taken.frames) == 65_536


class Taker:
    """A member that takes everything, or fails."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.frames: list[Frame] = []
        self.fault = fault

    def offer(self, frame: Frame) -> bool:
        if self.fault is not None:
            raise self.fault
        self.frames.append(frame)
        return True

    def offer_batch(self, batch: Batch) -> bool:
        return all(map(self.offer, batch.frames))

    def overflow(self) -> None:
        raise AssertionError("it takes everything")


def test_the_fault_of_one_room_is_not_the_others() -> None:
    loop_turn, loop = LoopTurn(), ManualLoop()
    loop_turn.enable(lambda: loop)
    broken, whole = Taker(RuntimeError("broken")), Taker()
    rooms = [ChannelBatching([each], loop_turn) for each in (broken, whole)]
    frame = frame_of(b"1", "tick")
    for room in rooms:
        room.broadcast(frame)
    assert whole.frames == []
    with pytest.raises(RuntimeError, match="broken"):
        loop.turn()
    loop.turn()
    assert whole.frames == [frame]
    rooms[1].broadcast(frame)
    loop.turn()
    assert whole.frames == [frame, frame]


async def test_what_a_loop_that_has_ended_was_to_hand_out_the_next_one_does() -> None:
    setup, first = batching_setup()
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        first.calls.clear()
        second = batch_by_hand(setup.pond)
        await tell(setup, 2, name=OTHER)
        assert heard(ann) == [1]
        await tell(setup, 3)
        second.turn()
        assert heard(ann) == [3]


async def test_nor_does_it_stay_where_the_next_one_cannot_batch() -> None:
    setup, _ = batching_setup()
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        setup.pond.enable_batching(lambda: None)
        await tell(setup, 2, name=OTHER)
        assert heard(ann) == [1]


async def test_a_loop_is_asked_once_a_turn() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        for _ in range(3):
            await tell(setup, 1)
            ann.session.heartbeat()
        assert len(loop.calls) == 1
        assert heard(ann) == [1, "PONG"] * 3
        loop.turn()
        await tell(setup, 2)
        assert len(loop.calls) == 1


async def test_what_other_threads_broadcast_waits_for_the_turn_too() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        channel = setup.pond.channel("/socket", ROOM)

        def speak() -> None:
            for number in range(3):
                channel.broadcast_nowait("tick", {"n": number})

        thread = threading.Thread(target=speak)
        thread.start()
        thread.join()
        await tell(setup, -1)
        await settled()
        assert heard(ann) == []
        loop.turn()
        assert heard(ann) == [-1, 0, 1, 2]


# --- who gets it ------------------------------------------------------------------------------


async def test_who_joins_meanwhile_does_not_get_it_and_who_was_there_does() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        async with member(setup, "bob") as bob:  # whose join has handed out what waited
            assert heard(ann) == [1]
            await tell(setup, 2)
            loop.turn()
            assert (heard(ann), heard(bob)) == ([2], [2])


async def test_one_that_joins_again_gets_it_before_the_acknowledgement_and_once() -> None:
    setup, loop = batching_setup(history=History(size=9))
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        await tell(setup, 2)
        loop.turn()
        assert heard(ann) == [1, "ACKNOWLEDGE", 2]


@pytest.mark.parametrize("how", ["leave", "evict", "disconnect", "close", "vanish"])
async def test_who_goes_meanwhile_still_gets_it(how: str) -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        await tell(setup, 1)
        match how:
            case "leave":
                bob.send("LEAVE_CHANNEL", ROOM, "leave")
            case "evict":
                await setup.pond.channel("/socket", ROOM).evict_user("bob")
            case "disconnect":
                await setup.pond.disconnect(user_id="bob")
            case "close":
                bob.session.close(CloseCode.NORMAL)
            case _:
                bob.vanish()
        await settled()
        await tell(setup, 2)
        loop.turn()
        assert heard(ann) == [1, 2]
        last = {"leave": ["EXIT_ACKNOWLEDGE"], "evict": ["EVICTED"], "disconnect": ["GOODBYE"]}
        assert heard(bob) == [1, *last.get(how, [])]


@pytest.mark.parametrize("how", ["disconnect", "drain", "close"])
async def test_who_is_closed_gets_it_first_where_frames_are_counted_too(how: str) -> None:
    pond = PondSocket(metrics=CountingMetrics())
    lobby = pond.create_endpoint("/socket", admit).create_channel("/room/:id", accept_join)
    (endpoint,) = pond.endpoints
    setup = PondSetup(pond, endpoint, lobby)
    batch_by_hand(pond)
    async with member(setup, "ann") as ann:
        await tell(setup, 1)
        if how == "drain":
            pond.begin_drain(0)
        elif how == "close":
            await pond.close()
        else:
            await pond.disconnect(user_id="ann")
        await settled()
        assert heard(ann) == [1, "GOODBYE"]
