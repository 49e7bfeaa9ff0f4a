"""What is broadcast in one turn of the loop leaves together, and nobody can tell by the order."""

import threading
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    Batch,
    CloseCode,
    EventContext,
    Frame,
    History,
    JoinContext,
    OutgoingContext,
    PondSocket,
)
from pondsocket._gathering import Gathering, Turn
from pondsocket.testing import MemoryPeer
from pondsocket_common import Position

from tests.core.gatherings import HandLoop, lend
from tests.core.ponds import ROOM, UNLIMITED, House, admit, build, let_in, member, settled
from tests.core.stalls import Tallies

OTHER = "/room/2"


async def tell(house: House, *numbers: int, name: str = ROOM, size: int = 0) -> None:
    channel = house.pond.channel("/socket", name)
    for number in numbers:
        await channel.broadcast("tick", {"n": number} | ({"x": "x" * size} if size else {}))


def heard(peer: MemoryPeer) -> list[Any]:
    """The numbers of what was broadcast, and the names of everything else; received by this."""
    return [
        message.payload["n"]  # type: ignore[index]
        if message.event == "tick"
        else message.event
        for message in peer.drain()
    ]


async def do(peer: MemoryPeer, *acts: str, name: str = ROOM) -> None:
    """Have a handler do all of this at once."""
    peer.send("BROADCAST", name, "do", {"acts": list(acts)})
    await settled()


async def on_do(ctx: EventContext) -> None:
    for act in ctx.get_payload()["acts"]:
        verb, _, argument = act.partition(" ")
        match verb:
            case "reply":
                await ctx.reply("answer")
            case "track":
                await ctx.track({"shown": argument})
            case "evict":
                await ctx.evict("out", argument)
            case "from":
                await ctx.broadcast_from("tick", {"n": int(argument)})
            case "to":
                number, user = argument.split()
                await ctx.broadcast_to("tick", {"n": int(number)}, user)
            case "shout":
                await ctx.broadcast("shout", {"n": int(argument)})
            case _:
                await ctx.broadcast("tick", {"n": int(act)})


def gathering_house(**lobby: Any) -> tuple[House, HandLoop]:
    pond = PondSocket(options=UNLIMITED)
    endpoint = pond.create_endpoint("/socket", admit)
    room = endpoint.create_channel("/room/:id", let_in, **lobby)
    room.on_message("do", on_do)
    return House(pond, endpoint, room), lend(pond)


# --- what waits, and for how long -------------------------------------------------------------


async def test_what_one_turn_brings_is_handed_out_in_one_piece_by_the_next() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        batches: list[Batch] = []
        for peer in (ann, bob):
            (joined,) = peer.session.memberships.values()
            joined.push_batch = batches.append  # type: ignore[attr-defined]
        await tell(house, 1, 2, 3)
        assert (heard(ann), heard(bob)) == ([], [])
        assert len(loop.calls) == 1
        loop.turn()
    first, second = batches
    assert first is second
    assert len(first.frames) == 3


async def test_one_alone_is_handed_out_as_it_is() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        await tell(house, 1)
        loop.turn()
        assert heard(ann) == [1]
        await tell(house, 2)
        loop.turn()
        assert heard(ann) == [2]


async def test_without_a_loop_nothing_waits() -> None:
    house = build()
    async with member(house, "ann") as ann:
        await tell(house, 1)
        assert heard(ann) == [1]
        house.pond.gather_turns(lambda: None)
        await tell(house, 2)
        assert heard(ann) == [2]


@pytest.mark.parametrize(("count", "size"), [(64, 0), (8, 8_192)])
async def test_much_does_not_wait_for_the_turn(count: int, size: int) -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        await tell(house, *range(count - 1), size=size)
        assert heard(ann) == []
        await tell(house, count - 1, size=size)
        assert heard(ann) == [*range(count)]
        await tell(house, 100)
        assert heard(ann) == []
        loop.turn()
        assert heard(ann) == [100]


async def test_nor_do_many_replies() -> None:
    turn, taken = Turn(), Taker()
    turn.lend(HandLoop)
    room = Gathering(lambda: [taken], turn)
    room.add(Frame(b"1", "tick"))
    for _ in range(65_535):
        assert room.add_own(Frame(b"2", "answer"), taken)
    assert len(taken.frames) == 65_536


class Taker:
    """A member that takes everything, or fails."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.frames: list[Frame] = []
        self.fault = fault

    def push(self, frame: Frame) -> bool:
        if self.fault is not None:
            raise self.fault
        self.frames.append(frame)
        return True

    def push_batch(self, batch: Batch) -> bool:
        return all(map(self.push, batch.frames))

    def overflow(self) -> None:
        raise AssertionError("it takes everything")


def test_the_fault_of_one_room_is_not_the_others() -> None:
    turn, loop = Turn(), HandLoop()
    turn.lend(lambda: loop)
    broken, whole = Taker(RuntimeError("broken")), Taker()
    rooms = [Gathering(lambda each=each: [each], turn) for each in (broken, whole)]  # type: ignore[misc]
    frame = Frame(b"1", "tick")
    for room in rooms:
        assert room.add(frame)
    with pytest.raises(RuntimeError, match="broken"):
        loop.turn()
    loop.turn()
    assert whole.frames == [frame]
    assert rooms[1].add(frame)
    loop.turn()
    assert whole.frames == [frame, frame]


async def test_what_a_loop_that_has_ended_was_to_hand_out_the_next_one_does() -> None:
    house, first = gathering_house()
    async with member(house, "ann") as ann:
        await tell(house, 1)
        first.calls.clear()
        second = lend(house.pond)
        await tell(house, 2, name=OTHER)
        assert heard(ann) == [1]
        await tell(house, 3)
        second.turn()
        assert heard(ann) == [3]


async def test_nor_does_it_stay_where_the_next_one_cannot_gather() -> None:
    house, _ = gathering_house()
    async with member(house, "ann") as ann:
        await tell(house, 1)
        house.pond.gather_turns(lambda: None)
        await tell(house, 2, name=OTHER)
        assert heard(ann) == [1]


async def test_a_loop_is_asked_once_a_turn() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        for _ in range(3):
            await tell(house, 1)
            ann.session.heartbeat()
        assert len(loop.calls) == 1
        assert heard(ann) == [1, "PONG"] * 3
        loop.turn()
        await tell(house, 2)
        assert len(loop.calls) == 1


async def test_what_other_threads_broadcast_waits_for_the_turn_too() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        channel = house.pond.channel("/socket", ROOM)

        def speak() -> None:
            for number in range(3):
                channel.broadcast_nowait("tick", {"n": number})

        thread = threading.Thread(target=speak)
        thread.start()
        thread.join()
        await tell(house, -1)
        await settled()
        assert heard(ann) == []
        loop.turn()
        assert heard(ann) == [-1, 0, 1, 2]


# --- who gets it ------------------------------------------------------------------------------


async def test_who_joins_meanwhile_does_not_get_it_and_who_was_there_does() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        await tell(house, 1)
        async with member(house, "bob") as bob:  # whose join has handed out what waited
            assert heard(ann) == [1]
            await tell(house, 2)
            loop.turn()
            assert (heard(ann), heard(bob)) == ([2], [2])


async def test_one_that_joins_again_gets_it_before_the_acknowledgement_and_once() -> None:
    house, loop = gathering_house(history=History(size=9))
    async with member(house, "ann") as ann:
        await tell(house, 1)
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        await tell(house, 2)
        loop.turn()
        assert heard(ann) == [1, "ACKNOWLEDGE", 2]


@pytest.mark.parametrize("how", ["leave", "evict", "disconnect", "close", "vanish"])
async def test_who_goes_meanwhile_still_gets_it(how: str) -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        await tell(house, 1)
        match how:
            case "leave":
                bob.send("LEAVE_CHANNEL", ROOM, "leave")
            case "evict":
                await house.pond.channel("/socket", ROOM).evict_user("bob")
            case "disconnect":
                await house.pond.disconnect(user_id="bob")
            case "close":
                bob.session.close(CloseCode.NORMAL)
            case _:
                bob.vanish()
        await settled()
        await tell(house, 2)
        loop.turn()
        assert heard(ann) == [1, 2]
        last = {"leave": ["EXIT_ACKNOWLEDGE"], "evict": ["EVICTED"], "disconnect": ["GOODBYE"]}
        assert heard(bob) == [1, *last.get(how, [])]


@pytest.mark.parametrize("how", ["disconnect", "drain", "close"])
async def test_who_is_closed_gets_it_first_where_frames_are_counted_too(how: str) -> None:
    pond = PondSocket(metrics=Tallies())
    lobby = pond.create_endpoint("/socket", admit).create_channel("/room/:id", let_in)
    (endpoint,) = pond._endpoints
    house = House(pond, endpoint, lobby)
    lend(pond)
    async with member(house, "ann") as ann:
        await tell(house, 1)
        if how == "drain":
            pond.begin_drain(0)
        elif how == "close":
            await pond.close()
        else:
            await pond.disconnect(user_id="ann")
        await settled()
        assert heard(ann) == [1, "GOODBYE"]


# --- in which order ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acts", "mine", "others"),
    [
        (["1", "reply", "2"], [1, "answer", 2], [1, 2]),
        (["reply", "1", "2"], ["answer", 1, 2], [1, 2]),
        (["1", "from 2", "3"], [1, 3], [1, 2, 3]),
        (["from 1", "reply"], ["answer"], [1]),
        (["1", "to 2 ann", "3"], [1, 2, 3], [1, 3]),
        (["1", "to 2 bob", "reply", "3"], [1, "answer", 3], [1, 2, 3]),
        (["1", "evict bob", "2"], [1, 2], [1, "EVICTED"]),
        (["1", "evict ann"], [1, "EVICTED"], [1]),
        (["1", "track a", "2"], [1, "JOIN", 2], [1, "JOIN", 2]),
        (["1", "reply", "from 2", "track a"], [1, "answer", "JOIN"], [1, 2, "JOIN"]),
        (["1", "shout 2", "3"], [1, "shout", 3], [1, "shout", 3]),
        (["shout 1", "reply", "2"], ["shout", "answer", 2], ["shout", 2]),
    ],
)
@pytest.mark.parametrize("outgoing", ["none", "at once", "late"])
async def test_one_turn_keeps_its_order(
    acts: list[str], mine: list[Any], others: list[Any], outgoing: str
) -> None:
    house, loop = gathering_house()
    if outgoing == "at once":
        house.lobby.on_outgoing("shout", lambda ctx: ctx.transform({"for": ctx.get_user().id}))
    elif outgoing == "late":
        house.lobby.on_outgoing("shout", make_late)
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        await do(ann, *acts)
        loop.turn()
        await settled()
        assert (heard(ann), heard(bob)) == (mine, others)


async def make_late(ctx: OutgoingContext) -> None:
    await anyio.lowlevel.checkpoint()
    ctx.transform({"for": ctx.get_user().id})


async def test_who_wants_diffs_gets_them_between_what_was_said_before_and_after() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        await bob.join(ROOM, presence="diff")  # type: ignore[arg-type]
        heard(ann)
        await do(ann, "1", "track a", "2", "reply")
        loop.turn()
        assert heard(bob) == [1, "DIFF", 2]
        assert heard(ann) == [1, "JOIN", 2, "answer"]


async def test_an_answer_of_the_connection_comes_after_all_rooms() -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        await ann.join(OTHER)
        await tell(house, 1)
        await tell(house, 2, name=OTHER)
        ann.send_raw('{"action": "ping"}')
        await settled()
        assert heard(ann) == [1, 2, "PONG"]
        await tell(house, 3)
        ann.send("BROADCAST", "/room/none", "do")
        await settled()
        assert heard(ann) == [3, "UNAUTHORIZED_BROADCAST"]
        await tell(house, 4)
        ann.send("BROADCAST", ROOM, "nobody's")
        await settled()
        loop.turn()
        assert heard(ann) == [4, "HANDLER_NOT_FOUND"]


@pytest.mark.parametrize("flushed", [ROOM, OTHER, None])
async def test_a_reply_keeps_its_place_among_other_rooms(flushed: str | None) -> None:
    house, loop = gathering_house()
    async with member(house, "ann") as ann:
        await ann.join(OTHER)
        await tell(house, 1)
        await do(ann, "reply")
        await tell(house, 2, name=OTHER)
        if flushed is not None:
            async with member(house, "bob", flushed):
                assert heard(ann) == [1, "answer", 2]
        await tell(house, 3, name=OTHER)
        await do(ann, "reply")
        await tell(house, 4)
        loop.turn()
        assert heard(ann) == [1, "answer", 2, 3, "answer", 4][3 if flushed else 0 :]


async def test_presence_and_others_of_another_room_do_not_overtake_a_reply() -> None:
    house, loop = gathering_house()
    house.lobby.on_outgoing("shout", lambda ctx: None)
    async with member(house, "ann") as ann:
        await ann.join(OTHER)
        await do(ann, "1", "reply")
        await do(ann, "track a", name=OTHER)
        assert heard(ann) == [1, "answer", "JOIN"]
        await do(ann, "1", "reply")
        await do(ann, "shout 2", name=OTHER)
        assert heard(ann) == [1, "answer", "shout"]
        loop.turn()
        assert heard(ann) == []


async def test_frames_that_are_counted_keep_their_order_too() -> None:
    pond = PondSocket(metrics=Tallies(), options=UNLIMITED)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", let_in)
    lobby.on_message("do", on_do)
    house, loop = House(pond, endpoint, lobby), lend(pond)
    async with member(house, "ann") as ann:
        await ann.join(OTHER)
        await do(ann, "1", "reply")
        await tell(house, 2, name=OTHER)
        await tell(house, 3)
        loop.turn()
        assert heard(ann)[:2] == [1, "answer"]


# --- histories --------------------------------------------------------------------------------


async def test_what_waits_when_somebody_comes_back_is_neither_missed_nor_doubled() -> None:
    house, loop = gathering_house(history=History(size=99))
    async with member(house, "bob") as bob, member(house, "ann") as ann:
        await tell(house, 1, 2)
        loop.turn()
        since = ann.drain()[-1].position
        await tell(house, 3)  # kept, and waiting
        ann.send("JOIN_CHANNEL", ROOM, "join", since=since)
        await settled()
        await tell(house, 4)
        loop.turn()
        # The old membership was there for 3; the new one asked for what came after 2.
        assert heard(ann) == [3, "ACKNOWLEDGE", 3, 4]
        assert heard(bob) == [1, 2, 3, 4]


async def test_a_member_that_is_behind_has_nothing_wait_and_afterwards_it_does() -> None:
    house, loop = gathering_house(history=History(size=99))
    async with member(house, "bob") as bob:
        await tell(house, 0)
        loop.turn()
        since = bob.drain()[-1].position
        assert isinstance(since, Position)
        await tell(house, *range(1, 21))
        async with member(house, "ann", OTHER, capacity=8) as ann:
            await ann.join(ROOM, since=since)
            await tell(house, 21)  # goes out, and into the history where she reads it
            assert heard(bob) == [*range(1, 22)]
            got: list[Any] = []
            while len(got) < 21:
                came = heard(ann)
                assert came
                got += came
            assert got == [*range(1, 22)]
            await tell(house, 22)
            assert (heard(ann), heard(bob)) == ([], [])
            loop.turn()
            assert (heard(ann), heard(bob)) == ([22], [22])


# --- peers that are too slow ------------------------------------------------------------------


async def test_who_cannot_take_it_is_closed_and_the_others_get_all() -> None:
    house, loop = gathering_house()
    async with (
        member(house, "ann") as ann,
        member(house, "slow", capacity=2) as slow,
        member(house, "bob") as bob,
    ):
        await tell(house, 1, 2, 3)
        assert slow.closed is None
        loop.turn()
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        assert (heard(ann), heard(bob)) == ([1, 2, 3], [1, 2, 3])


async def test_that_somebody_was_too_slow_is_told_after_what_it_was_too_slow_for() -> None:
    house, loop = gathering_house()
    async with (
        member(house, "ann") as ann,
        member(house, "slow") as slow,
        member(house, "bob") as bob,
    ):
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
    pond = PondSocket(metrics=Tallies() if counted else None)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", let_in)
    if outgoing:
        lobby.on_outgoing("shout", make_late)
    house, loop = House(pond, endpoint, lobby), lend(pond)
    async with AsyncExitStack() as connections:
        peers = [
            await connections.enter_async_context(member(house, user))
            for user in ("ann", "slow", "bob")
        ]
        for peer in peers:
            await peer.join(OTHER)
        peers[1].capacity = 0
        for number in (1, 2):
            await tell(house, number)
            await tell(house, -number, name=OTHER)
        loop.turn()
        assert await peers[1].wait_closed() is CloseCode.SLOW_CONSUMER
        assert heard(peers[0]) == heard(peers[2])
        await settled()
        assert await house.pond.channel("/socket", OTHER).user_count() == 2


async def test_who_is_too_slow_for_what_waits_is_out_when_it_leaves_and_counted_once() -> None:
    house, _ = gathering_house(history=History(size=9))
    async with member(house, "ann") as ann, member(house, "slow") as slow:
        slow.capacity = 1
        await tell(house, 1, 2)
        slow.send("LEAVE_CHANNEL", ROOM, "leave")
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert await house.pond.channel("/socket", ROOM).user_count() == 1
        assert heard(ann) == [1, 2]
    assert house.lobby.histories is not None
    log = house.lobby.histories.find(ROOM, 0.0)
    assert log is not None
    assert not log.is_in_use


@pytest.mark.parametrize("evicts", [False, True])
async def test_who_is_too_slow_for_what_waits_does_not_come_in_again(evicts: bool) -> None:
    accepted: list[JoinContext] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        accepted.append(ctx)

    house = build(join)
    loop = lend(house.pond)
    async with member(house, "ann") as ann, member(house, "slow") as slow:
        slow.capacity = 1
        await tell(house, 1, 2)
        if evicts:
            await house.pond.channel("/socket", ROOM).evict_user("slow")
        else:
            slow.send("JOIN_CHANNEL", ROOM, "join")
        assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert await house.pond.channel("/socket", ROOM).user_count() == 1
        assert len(accepted) == 2
        assert heard(ann) == [1, 2]
        await tell(house, 3)
        loop.turn()
        assert heard(ann) == [3]


async def test_who_is_too_slow_for_its_acknowledgement_leaves_the_room_as_it_was() -> None:
    house, loop = gathering_house(history=History(size=9))
    async with member(house, "ann") as ann:
        await tell(house, 1)
        loop.turn()
        since = ann.drain()[-1].position
        assert isinstance(since, Position)
        await tell(house, 2)
        loop.turn()
        async with member(house, "slow", OTHER) as slow:
            slow.capacity = 0
            slow.send("JOIN_CHANNEL", ROOM, "join", since=since)
            assert await slow.wait_closed() is CloseCode.SLOW_CONSUMER
            await settled()
        heard(ann)
        await tell(house, 3)
        assert heard(ann) == []  # it waits as ever
        loop.turn()
        assert heard(ann) == [3]
