"""`concurrent=True`: handlers that opt out of the order."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext, GatewayContext, Options, SyncEventContext
from pondsocket.testing import connect
from pondsocket_common import Fault

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, PondSetup, build


class Latch:
    """A handler that waits until it is let go, and how many are in it."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.inside = 0

    async def __call__(self, ctx: EventContext | GatewayContext) -> str:
        self.inside += 1
        await self.open.wait()
        return "done"


def gated(options: Options | None = None) -> tuple[PondSetup, Latch]:
    setup, latch = build(options=options), Latch()
    setup.lobby.on_message("slow", latch, concurrent=True)
    return setup, latch


async def test_concurrent_events_do_not_wait_for_each_other_nor_others_for_them() -> None:
    setup, latch = gated()
    async with member(setup, "ann") as ann:
        requests = [ann.send("BROADCAST", ROOM, "slow") for _ in range(3)]
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        assert latch.inside == 3
        latch.open.set()
        for request in requests:
            assert (await ann.answer(request)).payload == {"result": "done"}


async def test_a_concurrent_event_does_not_wait_for_one_in_the_lane() -> None:
    setup = build()
    latch = Latch()
    setup.lobby.on_message("slow", latch)

    @setup.lobby.on_message("quick", concurrent=True)
    async def quick(ctx: EventContext) -> str:
        return "quick"

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "quick"))).event == "quick"
        assert latch.inside == 1
        latch.open.set()


async def test_the_others_keep_their_order_beside_concurrent_ones() -> None:
    setup, latch = gated()
    seen: list[int] = []

    @setup.lobby.on_message("note")
    async def note(ctx: EventContext, n: int) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(n)

    async with member(setup, "ann") as ann:
        for n in range(5):
            ann.send("BROADCAST", ROOM, "note", {"n": n})
            ann.send("BROADCAST", ROOM, "slow")
        await settled()
        assert (seen, latch.inside) == ([0, 1, 2, 3, 4], 5)
        latch.open.set()


async def test_a_leave_does_not_wait_for_concurrent_ones_and_they_go_on() -> None:
    setup, latch = gated()
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.receive_event("EXIT_ACKNOWLEDGE")
        assert latch.inside == 1
        latch.open.set()


async def test_an_event_behind_a_pending_join_waits_also_if_concurrent() -> None:
    latch = anyio.Event()

    async def join(ctx: object) -> str:
        await latch.wait()
        return "welcome"

    setup = build(join)
    setup.lobby.on_message("quick", lambda ctx: "quick", concurrent=True)
    async with connect(setup.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        request = ann.send("BROADCAST", ROOM, "quick")
        await settled()
        assert events(ann) == ["CONNECTION"]
        latch.set()
        assert (await ann.answer(request)).payload == {"result": "quick"}


async def test_concurrent_events_count_as_pending() -> None:
    setup, latch = gated(Options(max_pending_messages=3))
    async with member(setup, "ann") as ann:
        requests = [ann.send("BROADCAST", ROOM, "slow") for _ in range(4)]
        refused = (await ann.answer(requests[3])).payload
        assert isinstance(refused, Fault)
        assert refused.code == 429
        latch.open.set()
        for request in requests[:3]:
            assert (await ann.answer(request)).event == "slow"
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "slow"))).event == "slow"


async def test_the_endpoints_own_events_may_be_concurrent() -> None:
    setup = build()
    latch = Latch()
    setup.endpoint.on_message("slow", latch, concurrent=True)
    async with member(setup, "ann") as ann:
        requests = [ann.send("BROADCAST", "GATEWAY", "slow") for _ in range(2)]
        await settled()
        assert latch.inside == 2
        latch.open.set()
        for request in requests:
            assert (await ann.answer(request)).event == "slow"


async def test_the_types_of_a_pattern_decide_who_is_concurrent() -> None:
    setup = build()
    latch = anyio.Event()

    async def by_number(ctx: EventContext, n: int) -> str:
        await latch.wait()
        return "number"

    async def by_name(ctx: EventContext, n: str) -> str:
        await latch.wait()
        return "name"

    setup.lobby.on_message("get/:n", by_number, concurrent=True)
    setup.lobby.on_message("get/:n", by_name)
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "get/1")
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        ann.send("BROADCAST", ROOM, "get/x")
        ann.send("BROADCAST", ROOM, "say")
        await settled()
        assert events(ann) == []
        latch.set()
        await ann.receive_event("say")


@pytest.mark.parametrize("plain", [False, True])
async def test_a_disconnect_does_not_wait_and_the_handlers_have_their_grace(plain: bool) -> None:
    setup = build()
    done: list[str] = []
    latch = anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await latch.wait()
        done.append("done")
        await ctx.broadcast("late", {})

    def blocks(ctx: SyncEventContext) -> None:
        done.append("done")
        ctx.broadcast("late", {})

    setup.lobby.on_message("slow", blocks if plain else slow, concurrent=True)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "slow")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        latch.set()
        await bob.receive_event("late")
    assert done == ["done"]
