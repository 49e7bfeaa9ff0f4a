"""What happens when the peer is gone."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, EventContext, JoinContext, LeaveContext, LeaveReason, Options
from pondsocket.testing import connect

from tests.core.members import LeaveLog, events, member, say, settled
from tests.core.ponds import ROOM, assert_nothing_left, build


async def test_a_peer_that_is_gone_is_no_member_any_more() -> None:
    leaves = LeaveLog()
    setup = build()
    setup.lobby.on_leave(leaves)
    async with member(setup, "bob"):
        async with member(setup, "ann") as ann:
            ann.vanish()
            assert await ann.wait_closed() is CloseCode.NORMAL
            assert ann.aborted
            assert not ann.unread
        assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert not await channel.has_user("ann")
        assert await setup.endpoint.connection_count() == 1


async def test_a_disconnect_is_noticed_while_a_handler_waits() -> None:
    opened, leaves = anyio.Event(), LeaveLog()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()

    setup = build()
    setup.lobby.on_message("slow", slow)
    setup.lobby.on_leave(leaves)
    async with member(setup, "ann") as ann:
        say(ann, "", event="slow")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        await settled()

        assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
        await assert_nothing_left(setup)
        opened.set()


async def test_a_client_that_vanishes_while_its_join_handler_waits_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def join(ctx: JoinContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    leaves = LeaveLog()
    setup = build(join)
    setup.lobby.on_leave(leaves)
    with anyio.fail_after(2):  # far below the time limit of a join
        async with connect(setup.pond, "/socket") as ann:
            ann.send("JOIN_CHANNEL", ROOM, "join")
            await settled()
            ann.vanish()

    assert ended == ["cancelled"]
    assert leaves.seen == []
    assert events(ann) == ["CONNECTION"]
    await assert_nothing_left(setup)


async def test_a_join_that_is_accepted_too_late_admits_no_member(
    caplog: pytest.LogCaptureFixture,
) -> None:
    after: list[str] = []

    async def join(ctx: JoinContext) -> None:
        with anyio.CancelScope(shield=True):
            await opened.wait()
        await ctx.accept()
        await ctx.track({})
        after.append("went on")

    opened = anyio.Event()
    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        opened.set()

    assert events(ann) == ["CONNECTION"]
    assert after == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    await assert_nothing_left(setup)


async def test_a_running_handler_goes_on_its_broadcasts_arrive_and_its_replies_do_not() -> None:
    opened = anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()
        await ctx.reply("answer", {})
        await ctx.broadcast("said", {"by": ctx.user.id})
        await ctx.track({"still": "here"})  # not a mistake: it has no effect

    setup = build()
    setup.lobby.on_message("slow", slow)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        say(ann, "", event="slow")
        say(ann, "queued behind")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        opened.set()

        assert (await bob.receive()).payload == {"by": "ann"}
        assert (await bob.receive()).payload == {"text": "queued behind"}
        await settled()
        assert not bob.unread
        assert not ann.unread


async def test_what_was_sent_behind_a_leave_is_no_members_even_after_the_end() -> None:
    opened = anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()

    setup = build()
    setup.lobby.on_message("slow", slow)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        say(ann, "", event="slow")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        say(ann, "too late")
        await settled()
        ann.vanish()
        await ann.wait_closed()
        opened.set()
        await settled()

        assert not bob.unread


async def test_handlers_are_cancelled_after_the_grace_period(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []

    async def endless(ctx: EventContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(ctx.get_payload()["text"])

    setup = build(options=Options(handler_grace=0.02))
    setup.lobby.on_message("endless", endless)
    with anyio.fail_after(2):
        async with member(setup, "ann") as ann:
            await ann.join("/room/2")
            for name in (ROOM, "/room/2"):
                say(ann, name, name, event="endless")
            say(ann, "queued", event="endless")
            await settled()
            ann.vanish()

    assert sorted(ended) == [ROOM, "/room/2"]
    assert "cancelled" in caplog.text
    await assert_nothing_left(setup)


async def test_a_join_handler_that_has_accepted_gets_the_grace_too() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        if ctx.user.id == "ann":
            await opened.wait()
            await ctx.broadcast("settled in", {})

    setup = build(join)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        ann.vanish()
        await ann.wait_closed()
        opened.set()

        assert (await bob.receive()).event == "settled in"


async def test_leave_handlers_run_even_if_they_take_longer_than_the_grace() -> None:
    opened, leaves = anyio.Event(), LeaveLog()

    async def slow_leave(ctx: LeaveContext) -> None:
        await opened.wait()
        await leaves(ctx)

    setup = build(options=Options(handler_grace=0))
    setup.lobby.on_leave(slow_leave)
    async with member(setup, "ann") as ann:
        ann.vanish()
        await ann.wait_closed()
        await settled()
        opened.set()

    assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
