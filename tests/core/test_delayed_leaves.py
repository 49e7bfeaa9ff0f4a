"""`presence_leave_delay`: a leave is held back for a moment, so that no member sees a reconnect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pondsocket import EventContext, JoinContext, LeaveContext, LeaveReason, Options
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, PresenceList, PresenceMode

from tests.core.members import events, settled
from tests.core.ponds import ROOM, PondSetup, assert_nothing_left, build

# Longer than any test, and too short to be waited for.
LONG = Options(presence_leave_delay=60.0)
SHORT = Options(presence_leave_delay=0.02)


class Held(list[tuple[str, LeaveReason]]):
    """A pond that holds leaves back, and the leaves that its handler was told of."""

    setup: PondSetup


def holding(options: Options = LONG) -> Held:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        if "silent" not in ctx.join_params:
            await ctx.track({"user": ctx.user.id})

    left = Held()
    left.setup = build(join, options=options)

    @left.setup.lobby.on_leave
    async def on_leave(ctx: LeaveContext) -> None:
        left.append((ctx.user.id, ctx.reason))

    @left.setup.lobby.on_message("show")
    async def show(ctx: EventContext) -> None:
        await ctx.track(ctx.get_payload())

    @left.setup.lobby.on_message("out")
    async def out(ctx: EventContext, user: str) -> None:
        await ctx.channel.evict_user(user, "out")

    return left


@asynccontextmanager
async def visitor(
    left: Held, user: str | None, join: dict[str, Any] | None = None
) -> AsyncIterator[MemoryPeer]:
    query = "" if user is None else f"?user={user}"
    async with connect(left.setup.pond, f"/socket{query}") as peer:
        await peer.join(ROOM, join)
        await settled()
        peer.drain()
        yield peer


@pytest.mark.parametrize("entered", [False, True])
async def test_who_comes_back_in_time_was_never_gone(entered: bool) -> None:
    left = holding()

    async def play() -> None:
        async with visitor(left, "bob") as bob:
            async with visitor(left, "ann"):
                await bob.receive_event("JOIN")
            await settled()
            assert events(bob) == []
            channel = await left.setup.lobby.get_channel(ROOM)
            assert channel is not None
            assert set(await channel.get_presence()) == {"ann", "bob"}
            assert await channel.user_count() == 1
            async with visitor(left, "ann") as ann:
                assert events(bob) == []  # it shows the same as before
                assert await channel.user_count() == 2
                assert events(ann) == []
                assert left == []

    if entered:
        async with left.setup.pond:
            await play()
    else:
        await play()
    await settled()
    assert sorted(user for user, _ in left) == ["ann", "bob"]
    await assert_nothing_left(left.setup)


@pytest.mark.parametrize("join", [{}, {"silent": True}])
async def test_who_comes_back_is_told_who_is_here_and_no_other_member_is_told_anything(
    join: dict[str, Any],
) -> None:
    left = holding()
    async with visitor(left, "ann") as ann:
        async with visitor(left, "bob"):
            pass
        async with visitor(left, "cat"):
            ann.drain()
            async with connect(left.setup.pond, "/socket?user=bob") as bob:
                await bob.join(ROOM, join)
                await settled()
                listed = [m.payload for m in bob.drain() if isinstance(m.payload, PresenceList)]
                users = [[shown["user"] for shown in each.presence] for each in listed]
                assert users == [["ann", "bob", "cat"]]
                assert listed[0].changed == {"user": "bob"}
                assert not ann.drain()


async def test_who_comes_back_is_shown_as_before_also_without_tracking_again() -> None:
    left = holding()
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann"):
            pass
        async with connect(left.setup.pond, "/socket?user=ann") as ann:
            answer = await ann.join(ROOM, {"silent": True}, presence=PresenceMode.DIFF)
            assert isinstance(answer.payload, Acknowledged)
            assert answer.payload.presence is not None
            assert {each.user for each in answer.payload.presence.joins} == {"ann", "bob"}
            assert events(bob) == ["JOIN"]


@pytest.mark.parametrize("entered", [False, True])
async def test_who_does_not_come_back_in_time_has_left(entered: bool) -> None:
    left = holding(SHORT)

    async def play() -> None:
        async with visitor(left, "bob") as bob:
            async with visitor(left, "ann"):
                await bob.receive_event("JOIN")
            leave = await bob.receive_event("LEAVE")
            assert leave.payload == PresenceList(({"user": "bob"},), {"user": "ann"})
            await settled()
            assert left == [("ann", LeaveReason.CONNECTION_CLOSED)]

    if entered:
        async with left.setup.pond:
            await play()
    else:
        await play()


async def test_a_made_up_id_cannot_come_back_and_is_not_held() -> None:
    left = holding()
    async with visitor(left, "bob") as bob:
        async with visitor(left, None):
            await bob.receive_event("JOIN")
        await bob.receive_event("LEAVE")
        assert [reason for _, reason in left] == [LeaveReason.CONNECTION_CLOSED]


async def test_what_is_no_lost_connection_is_not_held() -> None:
    left = holding()
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann") as ann:
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
            await bob.receive_event("LEAVE")
        async with visitor(left, "ann"):
            bob.send("BROADCAST", ROOM, "out", {"user": "ann"})
            await bob.receive_event("LEAVE")
        async with visitor(left, "ann"):
            await left.setup.pond.disconnect(user_id="ann")
            await bob.receive_event("LEAVE")
    assert [reason for user, reason in left if user == "ann"] == [
        LeaveReason.EXPLICIT_LEAVE,
        LeaveReason.EVICTED,
        LeaveReason.CONNECTION_CLOSED,
    ]


async def test_a_tab_that_is_not_the_last_is_gone_at_once() -> None:
    left = holding()
    async with visitor(left, "bob") as bob, visitor(left, "ann"):
        bob.drain()
        async with visitor(left, "ann") as tab:
            tab.send("BROADCAST", ROOM, "show", {"tab": 2})
            await bob.receive_event("UPDATE")
        # The object of the other tab is the one listed again.
        assert (await bob.receive_event("UPDATE")).payload == PresenceList(
            ({"user": "bob"}, {"user": "ann"}), {"user": "ann"}
        )
        assert left == []


async def test_two_tabs_that_are_lost_are_one_leave() -> None:
    left = holding(SHORT)
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann"), visitor(left, "ann"):
            bob.drain()
        await bob.receive_event("LEAVE")
        await settled()
        assert left == [("ann", LeaveReason.CONNECTION_CLOSED)]
        assert "LEAVE" not in events(bob)


async def test_the_last_of_a_channel_has_left_at_once_where_no_host_can_wait() -> None:
    left = holding()
    async with visitor(left, "ann"):
        pass
    await settled()
    assert left == [("ann", LeaveReason.CONNECTION_CLOSED)]
    await assert_nothing_left(left.setup)


async def test_the_last_of_a_channel_is_held_by_a_pond_that_is_entered() -> None:
    left = holding()
    async with left.setup.pond:
        async with visitor(left, "ann"):
            pass
        await settled()
        assert left == []
        async with visitor(left, "ann"):
            channel = await left.setup.lobby.get_channel(ROOM)
            assert channel is not None
            assert await channel.get_presence() == {"ann": {"user": "ann"}}
            assert left == []
    assert left == [("ann", LeaveReason.CONNECTION_CLOSED)]


async def test_what_is_held_is_settled_where_the_last_who_could_wait_leaves() -> None:
    left = holding()
    async with visitor(left, "bob"):
        async with visitor(left, "ann"):
            pass
        await settled()
        assert left == []
    await settled()
    assert sorted(user for user, _ in left) == ["ann", "bob"]
    await assert_nothing_left(left.setup)


async def test_what_is_held_moves_on_to_another_who_can_wait() -> None:
    left = holding(Options(presence_leave_delay=0.1))
    async with visitor(left, "bob") as bob:
        async with visitor(left, "eve") as eve:
            async with visitor(left, "ann"):
                pass
            await settled()
            eve.send("LEAVE_CHANNEL", ROOM, "leave")
        with anyio.fail_after(3):
            while len(left) < 2:
                await bob.receive_event("LEAVE", wait=2)
                await settled()
    assert {user for user, _ in left[:2]} == {"ann", "eve"}


async def test_closing_the_pond_settles_what_is_held() -> None:
    left = holding()
    async with left.setup.pond, visitor(left, "bob"):
        async with visitor(left, "ann"):
            pass
        await settled()
        assert left == []
        await left.setup.pond.close()
    assert sorted(user for user, _ in left) == ["ann", "bob"]
    await assert_nothing_left(left.setup)


async def test_an_eviction_ends_what_is_held() -> None:
    left = holding()
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann"):
            pass
        await settled()
        bob.drain()
        bob.send("BROADCAST", ROOM, "out", {"user": "ann"})
        assert (await bob.receive()).event == "LEAVE"
        await settled()
        assert left == [("ann", LeaveReason.EVICTED)]


async def test_a_refused_return_is_no_return() -> None:
    left = holding(SHORT)
    allowed = True

    async def join(ctx: JoinContext) -> None:
        await (ctx.accept() if allowed or ctx.user.id == "bob" else ctx.decline(403, "No."))
        if allowed:
            await ctx.track({"user": ctx.user.id})

    left.setup = build(join, options=SHORT)
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann"):
            await bob.receive_event("JOIN")
        allowed = False
        async with connect(left.setup.pond, "/socket?user=ann") as ann:
            assert (await ann.join(ROOM)).event == "UNAUTHORIZED"
            await bob.receive_event("LEAVE")


async def test_by_default_nothing_is_held() -> None:
    left = holding(Options())
    async with visitor(left, "bob") as bob:
        async with visitor(left, "ann"):
            await bob.receive_event("JOIN")
        await bob.receive_event("LEAVE")
    assert len(left) == 2
