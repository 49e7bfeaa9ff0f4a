"""Joins of a channel that the connection has joined already."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import JoinContext, LeaveContext, LeaveReason, Options, PondError
from pondsocket.testing import connect
from pondsocket_common import Refused

from tests.core.members import LeaveLog, events, member, say, settled
from tests.core.ponds import ROOM, build


async def test_a_duplicate_join_replaces_the_old_without_a_leave_seen_by_others() -> None:
    left: list[str] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.accept({"as": ctx.join_params.get("as")})
        await ctx.track({"as": ctx.join_params.get("as")})

    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    setup = build(join)
    setup.lobby.on_leave(leave)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        await settled()
        bob.drain()
        ann.drain()
        second = ann.send("JOIN_CHANNEL", ROOM, "join", {"as": "guest"})
        assert (await ann.answer(second)).event == "ACKNOWLEDGE"
        await settled()

        assert events(bob) == ["UPDATE"]
        assert left == []
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert len(channel.roster) == 2
        assert (await channel.get_assigns())["ann"]["as"] == "guest"
        ann.drain()
        say(bob, "once")
        await settled()
        assert events(ann) == ["say"]


@pytest.mark.parametrize("how", ["decline", "silence", "raise", "PondError", "timeout"])
async def test_a_refused_duplicate_join_ends_the_old_membership(how: str) -> None:
    left: list[str] = []

    async def join(ctx: JoinContext) -> None:
        if ctx.user.id == "bob" or ctx.join_params.get("first"):
            await ctx.accept()
        elif how == "decline":
            await ctx.decline(403, "no")
        elif how == "raise":
            raise LookupError
        elif how == "PondError":
            raise PondError("no", 403)
        elif how == "timeout":
            await anyio.sleep_forever()

    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.reason)

    setup = build(join, options=Options(join_timeout=0.05))
    setup.lobby.on_leave(leave)
    async with member(setup, "bob") as bob, connect(setup.pond, "/socket?user=ann") as ann:
        assert (await ann.join(ROOM, {"first": True})).event == "ACKNOWLEDGE"
        second = ann.send("JOIN_CHANNEL", ROOM, "join", {})
        assert (await ann.answer(second)).event == "UNAUTHORIZED"
        await settled()
        ann.drain()

        assert left == ["evicted"]
        say(bob, "without ann")
        say(ann, "still in?")
        await settled()
        assert events(ann) == ["UNAUTHORIZED_BROADCAST"]


async def test_the_old_membership_ends_with_the_refusal_not_with_the_handler() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        if ctx.join_params.get("first"):
            await ctx.accept()
            return
        await ctx.decline(403, "no")
        await opened.wait()

    setup = build(join)
    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM, {"first": True})
        second = ann.send("JOIN_CHANNEL", ROOM, "join", {})
        assert (await ann.answer(second)).event == "UNAUTHORIZED"
        assert await setup.lobby.get_channel(ROOM) is None
        opened.set()


async def test_the_old_membership_holds_while_the_duplicate_is_decided() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        if not ctx.join_params.get("first") and ctx.user.id == "ann":
            await opened.wait()
        await ctx.accept()

    setup = build(join)
    async with member(setup, "bob") as bob, connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM, {"first": True})
        ann.drain()
        ann.send("JOIN_CHANNEL", ROOM, "join", {})
        await settled()
        say(bob, "meanwhile")
        assert (await ann.receive()).payload == {"text": "meanwhile"}
        opened.set()
        assert (await ann.receive()).event == "ACKNOWLEDGE"


@pytest.mark.parametrize("refusal", ["too fast", "invalid"])
async def test_asking_again_and_being_refused_ends_the_old_membership(
    refusal: str,
) -> None:
    leaves = LeaveLog()
    setup = build(options=Options(control_rate=0.001, control_burst=1))
    setup.lobby.on_leave(leaves)
    async with member(setup, "ann") as ann:
        if refusal == "too fast":
            answer = await ann.join(ROOM)
        else:
            ann.send_raw(
                '{"action": "JOIN_CHANNEL", "event": "join", "channelName": "/room/1",'
                ' "requestId": "1", "payload": {}, "since": 7}'
            )
            answer = await ann.receive()
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == (429 if refusal == "too fast" else 400)
        await settled()
        assert await setup.lobby.list_channels() == []
        assert leaves.seen == [("ann", LeaveReason.EVICTED)]
