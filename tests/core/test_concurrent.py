"""`concurrent=True`: handlers that opt out of the order."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext, Options, SyncEventContext
from pondsocket.testing import connect
from pondsocket_common import Fault

from tests.core.ponds import ROOM, House, build, events, member, settled


class Gate:
    """A handler that waits until it is let go, and how many are in it."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.inside = 0

    async def __call__(self, ctx: EventContext) -> str:
        self.inside += 1
        await self.open.wait()
        return "done"


def gated(options: Options | None = None) -> tuple[House, Gate]:
    house, gate = build(options=options), Gate()
    house.lobby.on_message("slow", gate, concurrent=True)
    return house, gate


async def test_concurrent_events_do_not_wait_for_each_other_nor_others_for_them() -> None:
    house, gate = gated()
    async with member(house, "ann") as ann:
        requests = [ann.send("BROADCAST", ROOM, "slow") for _ in range(3)]
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        assert gate.inside == 3
        gate.open.set()
        for request in requests:
            assert (await ann.answer(request)).payload == {"result": "done"}


async def test_a_concurrent_event_does_not_wait_for_one_in_the_lane() -> None:
    house = build()
    gate = Gate()
    house.lobby.on_message("slow", gate)

    @house.lobby.on_message("quick", concurrent=True)
    async def quick(ctx: EventContext) -> str:
        return "quick"

    async with member(house, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "quick"))).event == "quick"
        assert gate.inside == 1
        gate.open.set()


async def test_the_others_keep_their_order_beside_concurrent_ones() -> None:
    house, gate = gated()
    seen: list[int] = []

    @house.lobby.on_message("note")
    async def note(ctx: EventContext, n: int) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(n)

    async with member(house, "ann") as ann:
        for n in range(5):
            ann.send("BROADCAST", ROOM, "note", {"n": n})
            ann.send("BROADCAST", ROOM, "slow")
        await settled()
        assert (seen, gate.inside) == ([0, 1, 2, 3, 4], 5)
        gate.open.set()


async def test_a_leave_does_not_wait_for_concurrent_ones_and_they_go_on() -> None:
    house, gate = gated()
    async with member(house, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.receive_event("EXIT_ACKNOWLEDGE")
        assert gate.inside == 1
        gate.open.set()


async def test_an_event_behind_a_pending_join_waits_also_if_concurrent() -> None:
    gate = anyio.Event()

    async def join(ctx: object) -> str:
        await gate.wait()
        return "welcome"

    house = build(join)
    house.lobby.on_message("quick", lambda ctx: "quick", concurrent=True)
    async with connect(house.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        request = ann.send("BROADCAST", ROOM, "quick")
        await settled()
        assert events(ann) == ["CONNECTION"]
        gate.set()
        assert (await ann.answer(request)).payload == {"result": "quick"}


async def test_concurrent_events_count_as_pending() -> None:
    house, gate = gated(Options(max_pending_messages=3))
    async with member(house, "ann") as ann:
        requests = [ann.send("BROADCAST", ROOM, "slow") for _ in range(4)]
        refused = (await ann.answer(requests[3])).payload
        assert isinstance(refused, Fault)
        assert refused.code == 429
        gate.open.set()
        for request in requests[:3]:
            assert (await ann.answer(request)).event == "slow"
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "slow"))).event == "slow"


async def test_the_endpoints_own_events_may_be_concurrent() -> None:
    house = build()
    gate = Gate()
    house.endpoint.on_message("slow", gate, concurrent=True)
    async with member(house, "ann") as ann:
        requests = [ann.send("BROADCAST", "GATEWAY", "slow") for _ in range(2)]
        await settled()
        assert gate.inside == 2
        gate.open.set()
        for request in requests:
            assert (await ann.answer(request)).event == "slow"


async def test_the_types_of_a_pattern_decide_who_is_concurrent() -> None:
    house = build()
    gate = anyio.Event()

    async def by_number(ctx: EventContext, n: int) -> str:
        await gate.wait()
        return "number"

    async def by_name(ctx: EventContext, n: str) -> str:
        await gate.wait()
        return "name"

    house.lobby.on_message("get/:n", by_number, concurrent=True)
    house.lobby.on_message("get/:n", by_name)
    async with member(house, "ann") as ann:
        ann.send("BROADCAST", ROOM, "get/1")
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        ann.send("BROADCAST", ROOM, "get/x")
        ann.send("BROADCAST", ROOM, "say")
        await settled()
        assert events(ann) == []
        gate.set()
        await ann.receive_event("say")


@pytest.mark.parametrize("plain", [False, True])
async def test_a_disconnect_does_not_wait_and_the_handlers_have_their_grace(plain: bool) -> None:
    house = build()
    done: list[str] = []
    gate = anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await gate.wait()
        done.append("done")
        await ctx.broadcast("late", {})

    def blocks(ctx: SyncEventContext) -> None:
        done.append("done")
        ctx.broadcast("late", {})

    house.lobby.on_message("slow", blocks if plain else slow, concurrent=True)
    async with member(house, "bob") as bob, member(house, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        gate.set()
        await bob.receive_event("late")
    assert done == ["done"]
