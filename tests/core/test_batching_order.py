"""No client can tell by the order whether what one turn sent was batched."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext, OutgoingContext, PondSocket
from pondsocket.adapter import Batch
from pondsocket.testing import connect

from tests.core.batching import OTHER, batching_setup, do, heard, on_do, tell
from tests.core.batching_programs import batch_by_hand
from tests.core.members import member, settled
from tests.core.ponds import ROOM, UNLIMITED, PondSetup, accept_join, admit
from tests.core.slow_consumers import CountingMetrics

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
        (["1", "push 2", "3", "push 4", "reply"], [1, 2, 3, 4, "answer"], [1, 3]),
        (["push 1", "from 2", "track a", "push 3"], [1, "JOIN", 3], [2, "JOIN"]),
        (["1", "aside 2", "3", "aside 4", "push 5"], [1, 2, 3, 4, 5], [1, 3]),
    ],
)
@pytest.mark.parametrize("outgoing", ["none", "at once", "late"])
async def test_one_turn_keeps_its_order(
    acts: list[str], mine: list[Any], others: list[Any], outgoing: str
) -> None:
    setup, loop = batching_setup()
    if outgoing == "at once":
        setup.lobby.on_outgoing("shout", lambda ctx: ctx.transform({"for": ctx.get_user().id}))
    elif outgoing == "late":
        setup.lobby.on_outgoing("shout", make_late)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        await do(ann, *acts)
        loop.turn()
        await settled()
        assert (heard(ann), heard(bob)) == (mine, others)


async def test_an_endpoints_broadcasts_leave_together_and_overtake_nothing() -> None:
    setup, loop = batching_setup()

    async def on_all(ctx: EventContext) -> None:
        for n in (2, 3):
            await setup.endpoint.broadcast("tick", {"n": n})
        await ctx.broadcast("tick", {"n": 4})
        await setup.endpoint.broadcast("tick", {"n": 5})
        await ctx.push("tick", {"n": 6})

    setup.lobby.on_message("all", on_all)
    async with member(setup, "ann") as ann, connect(setup.pond, "/socket?user=bob") as bob:
        await setup.pond.channel("/socket", ROOM).broadcast("tick", {"n": 1})
        ann.send("BROADCAST", ROOM, "all")
        await settled()
        loop.turn()
        assert (heard(ann), heard(bob)) == ([1, 2, 3, 4, 5, 6], ["CONNECTION", 2, 3, 5])


async def test_many_endpoint_broadcasts_of_one_turn_are_one_batch() -> None:
    setup, loop = batching_setup()
    async with connect(setup.pond, "/socket?user=ann") as ann:
        batches = 0
        offer_batch = ann.offer_batch

        def counted(batch: Batch) -> bool:
            nonlocal batches
            batches += 1
            return offer_batch(batch)

        ann.offer_batch = counted  # type: ignore[method-assign]
        for n in range(10):
            await setup.endpoint.broadcast("tick", {"n": n})
        assert heard(ann) == ["CONNECTION"]
        loop.turn()
        assert (heard(ann), batches) == ([*range(10)], 1)


async def test_a_connection_that_opens_later_in_a_turn_does_not_get_its_broadcasts() -> None:
    setup, loop = batching_setup()
    async with connect(setup.pond, "/socket"):
        await setup.endpoint.broadcast("tick", {"n": 1})
        async with connect(setup.pond, "/socket") as late:
            await setup.endpoint.broadcast("tick", {"n": 2})
            loop.turn()
            assert heard(late) == ["CONNECTION", 2]


async def make_late(ctx: OutgoingContext) -> None:
    await anyio.lowlevel.checkpoint()
    ctx.transform({"for": ctx.get_user().id})


async def test_who_wants_diffs_gets_them_between_what_was_said_before_and_after() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        await bob.join(ROOM, presence="diff")  # type: ignore[arg-type]
        heard(ann)
        await do(ann, "1", "track a", "2", "reply")
        loop.turn()
        assert heard(bob) == [1, "DIFF", 2]
        assert heard(ann) == [1, "JOIN", 2, "answer"]


async def test_an_answer_of_the_connection_comes_after_all_rooms() -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        await ann.join(OTHER)
        await tell(setup, 1)
        await tell(setup, 2, name=OTHER)
        ann.send_raw('{"action": "ping"}')
        await settled()
        assert heard(ann) == [1, 2, "PONG"]
        await tell(setup, 3)
        ann.send("BROADCAST", "/room/none", "do")
        await settled()
        assert heard(ann) == [3, "UNAUTHORIZED_BROADCAST"]
        await tell(setup, 4)
        ann.send("BROADCAST", ROOM, "unhandled")
        await settled()
        loop.turn()
        assert heard(ann) == [4, "HANDLER_NOT_FOUND"]


@pytest.mark.parametrize("flushed", [ROOM, OTHER, None])
async def test_a_reply_keeps_its_place_among_other_rooms(flushed: str | None) -> None:
    setup, loop = batching_setup()
    async with member(setup, "ann") as ann:
        await ann.join(OTHER)
        await tell(setup, 1)
        await do(ann, "reply")
        await tell(setup, 2, name=OTHER)
        if flushed is not None:
            async with member(setup, "bob", flushed):
                assert heard(ann) == [1, "answer", 2]
        await tell(setup, 3, name=OTHER)
        await do(ann, "reply")
        await tell(setup, 4)
        loop.turn()
        assert heard(ann) == [1, "answer", 2, 3, "answer", 4][3 if flushed else 0 :]


async def test_presence_and_others_of_another_room_do_not_overtake_a_reply() -> None:
    setup, loop = batching_setup()
    setup.lobby.on_outgoing("shout", lambda ctx: None)
    async with member(setup, "ann") as ann:
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
    pond = PondSocket(metrics=CountingMetrics(), options=UNLIMITED)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join)
    lobby.on_message("do", on_do)
    setup, loop = PondSetup(pond, endpoint, lobby), batch_by_hand(pond)
    async with member(setup, "ann") as ann:
        await ann.join(OTHER)
        await do(ann, "1", "reply")
        await tell(setup, 2, name=OTHER)
        await tell(setup, 3)
        loop.turn()
        assert heard(ann)[:2] == [1, "answer"]
