"""Handlers and tasks that outlive the membership of the member that they act for."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import pytest
from pondsocket import EventContext, JoinContext, SyncEventContext
from pondsocket.testing import MemoryPeer

from tests.core.members import answer_to_event, events, member, settled
from tests.core.ponds import ROOM, PondSetup, build, error_records, join_and_track

pytestmark = pytest.mark.anyio

End = Callable[[PondSetup, MemoryPeer], Awaitable[object]]


async def leave(setup: PondSetup, peer: MemoryPeer) -> None:
    peer.send("LEAVE_CHANNEL", ROOM, "leave")
    await settled()


async def vanish(setup: PondSetup, peer: MemoryPeer) -> None:
    peer.vanish()
    await settled()


async def evict(setup: PondSetup, peer: MemoryPeer) -> None:
    await setup.pond.channel("/socket", ROOM).evict_user("ann", "enough")


async def disconnect(setup: PondSetup, peer: MemoryPeer) -> None:
    await setup.pond.disconnect(user_id="ann")


ENDS: Final[list[End]] = [leave, vanish, evict, disconnect]

CALLS: Final[dict[str, Callable[[EventContext], Awaitable[object]]]] = {
    "track": lambda ctx: ctx.track({"ghost": 1}),
    "update_presence": lambda ctx: ctx.update_presence({"ghost": 1}),
    "untrack": lambda ctx: ctx.untrack(),
    "evict": lambda ctx: ctx.evict("late"),
    "set_assign": lambda ctx: ctx.set_assign("ghost", 1),
    "assign": lambda ctx: ctx.assign(ghost=1),
    "get_assign": lambda ctx: ctx.get_assign("ghost"),
    "reply": lambda ctx: ctx.reply("late", {}),
    "broadcast": lambda ctx: ctx.broadcast("late", {}),
    "broadcast_from": lambda ctx: ctx.broadcast_from("late", {}),
    "broadcast_to": lambda ctx: ctx.broadcast_to("late", {}, "ann", "bob"),
    "get_all_presence": lambda ctx: ctx.get_all_presence(),
    "get_all_assigns": lambda ctx: ctx.get_all_assigns(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("concurrent", [False, True])
async def test_no_call_for_a_member_that_is_gone_raises_or_brings_it_back(
    end: End, concurrent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ended, ran = anyio.Event(), anyio.Event()
    raised: dict[str, Exception] = {}

    async def act(ctx: EventContext) -> None:
        await ended.wait()
        for name, call in CALLS.items():
            try:
                await call(ctx)
            except Exception as error:  # noqa: BLE001 - the test shows all of them
                raised[name] = error
        ran.set()

    setup = build(join_and_track)
    setup.lobby.on_message("act", act, concurrent=concurrent)
    room = setup.pond.channel("/socket", ROOM)
    async with member(setup, "bob") as bob:
        async with member(setup, "ann") as ann:
            bob.drain()
            ann.send("BROADCAST", ROOM, "act")
            await settled()
            # A leave of the client waits for its turn behind the event, in the same lane.
            late = end is leave and not concurrent
            if not late:
                await end(setup, ann)
            ended.set()
            with anyio.fail_after(2):
                await ran.wait()
            if late:
                await end(setup, ann)
            await settled()
            assert raised == {}
            assert await room.has_user("ann") is False
            assert list(await room.get_presence()) == ["bob"]
        heard = events(bob)
        assert heard.count("late") == 3
        assert heard.count("LEAVE") == 1
    assert error_records(caplog) == []


async def test_a_reply_to_a_former_member_still_answers_its_client() -> None:
    async def go(ctx: EventContext) -> str:
        await ctx.evict("done")
        await ctx.track({"ghost": 1})
        return "bye"

    setup = build()
    setup.lobby.on_message("go", go)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.payload == {"result": "bye"}


async def test_a_plain_handler_may_be_late_too(caplog: pytest.LogCaptureFixture) -> None:
    def go(ctx: SyncEventContext) -> None:
        ctx.evict("done")
        ctx.track({"ghost": 1})
        ctx.update_presence({"ghost": 1})
        ctx.untrack()
        ctx.evict("again")
        ctx.set_assign("ghost", 1)
        ctx.reply("bye")

    setup = build()
    setup.lobby.on_message("go", go)
    async with member(setup, "ann") as ann:
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "go"))).event == "bye"
        assert await setup.pond.channel("/socket", ROOM).get_presence() == {}
    assert error_records(caplog) == []


async def test_a_join_handler_may_go_on_after_its_member_has_left() -> None:
    tried = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        if ctx.user.id == "bob":
            return
        await ctx.channel.evict_user("ann")
        await ctx.track({"ghost": 1})
        await ctx.set_assign("ghost", 1)
        await ctx.broadcast("late")
        tried.set()

    setup = build(join)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        with anyio.fail_after(2):
            await tried.wait()
        assert events(bob) == ["late"]
        assert ann.closed is None


async def test_a_newer_membership_is_not_touched_by_calls_for_the_older() -> None:
    kept: list[EventContext] = []

    async def keep(ctx: EventContext) -> str:
        kept.append(ctx)
        return "kept"

    setup = build(join_and_track)
    setup.lobby.on_message("keep", keep)
    async with member(setup, "ann") as ann:
        assert await answer_to_event(ann, "keep") == "keep"
        await leave(setup, ann)
        await ann.join(ROOM)
        (ctx,) = kept
        for call in CALLS.values():
            await call(ctx)
        room = setup.pond.channel("/socket", ROOM)
        assert await room.get_presence() == {"ann": {"who": "ann"}}
        assert "ghost" not in (await room.get_assigns())["ann"]
