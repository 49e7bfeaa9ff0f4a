"""How a connection ends that the server closes or cancels."""

import gc
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    EventContext,
    JoinContext,
    LeaveContext,
    LeaveReason,
    Options,
    ServerActions,
    UsageError,
)
from pondsocket.adapter import Frame, Session
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Goodbye

from tests.core.members import LeaveLog, events, member, say, settled
from tests.core.ponds import ROOM, admitted, assert_nothing_left, build
from tests.live_objects import live_objects


@pytest.mark.parametrize("code", [code for code in CloseCode if code is not CloseCode.NORMAL])
async def test_a_goodbye_precedes_every_close_that_the_server_decides(code: CloseCode) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        ann.session.close(code, "because")
        ann.session.close(CloseCode.INTERNAL, "a second time")

        assert await ann.wait_closed() is code
        assert ann.reason == "because"
        (goodbye,) = ann.drain()
        assert (goodbye.action, goodbye.event, goodbye.channel_name) == (
            ServerActions.SYSTEM,
            "GOODBYE",
            "GATEWAY",
        )
        assert goodbye.payload == Goodbye(code, "because", code.reconnect, 0)
    assert ann.aborted is (code is CloseCode.SLOW_CONSUMER)


async def test_a_code_may_be_a_plain_number_but_not_any() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        with pytest.raises(ValueError, match="4999"):
            ann.session.close(4999)  # type: ignore[arg-type]
        assert ann.session.is_open
        await setup.pond.disconnect(user_id="ann", code=4403)  # type: ignore[arg-type]
        assert await ann.wait_closed() is CloseCode.DISCONNECTED


async def test_a_close_whose_reason_is_no_text_changes_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        reason: Any = {"no": "text"}
        with pytest.raises(UsageError):
            await setup.pond.disconnect(user_id="ann", reason=reason)
        await settled()
        assert ann.closed is None
        say(ann, "still here")
        assert (await ann.receive()).event == "say"
        await setup.pond.disconnect(user_id="ann", reason="enough")
        assert await ann.wait_closed() is CloseCode.DISCONNECTED


async def test_a_close_that_the_peer_asked_for_needs_no_goodbye() -> None:
    async with member(build(), "ann") as ann:
        ann.session.close(CloseCode.NORMAL)
        assert await ann.wait_closed() is CloseCode.NORMAL
        assert not ann.unread
        assert not ann.aborted


async def test_closing_ends_memberships_at_once() -> None:
    leaves = LeaveLog()
    setup = build()
    setup.lobby.on_leave(leaves)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.session.close(CloseCode.DISCONNECTED)
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert not await channel.has_user("ann")
        assert await setup.endpoint.connection_count() == 1
        assert not ann.session.is_open
        say(bob, "without ann")
        await settled()

        assert events(ann) == ["GOODBYE"]
        assert events(bob) == ["say"]
    assert leaves.seen[0] == ("ann", LeaveReason.CONNECTION_CLOSED)


@pytest.mark.parametrize("waits", ["never", "before", "after"])
async def test_a_handler_may_close_its_own_connection(waits: str) -> None:
    done = anyio.Event()

    async def goodbye(ctx: EventContext) -> None:
        if waits == "before":
            await anyio.lowlevel.checkpoint()
        await ctx.reply("last words", {})
        ctx.session.close(CloseCode.DISCONNECTED, "you asked")
        await ctx.reply("too late", {})
        if waits == "after":
            await anyio.lowlevel.checkpoint()
        await ctx.broadcast("gone", {})
        done.set()

    setup = build()
    setup.lobby.on_message("quit", goodbye)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        say(ann, "", event="quit")
        assert await ann.wait_closed() is CloseCode.DISCONNECTED
        await done.wait()
        await settled()
        assert events(ann) == ["last words", "GOODBYE"]
        assert events(bob) == ["gone"]


async def test_a_join_handler_may_close_its_own_connection() -> None:
    async def join(ctx: JoinContext) -> None:
        ctx.session.close(CloseCode.DISCONNECTED)
        await ctx.accept()
        raise AssertionError("it should have been cancelled")

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        assert await ann.wait_closed() is CloseCode.DISCONNECTED
        assert events(ann) == ["CONNECTION", "GOODBYE"]
    await assert_nothing_left(setup)


async def test_nothing_follows_the_goodbye() -> None:
    async def join(ctx: JoinContext) -> None:
        ctx.session.close(CloseCode.DISCONNECTED)
        await ctx.decline(403, "too late")

    async with connect(build(join).pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await ann.wait_closed()
        await settled()
        assert events(ann) == ["CONNECTION", "GOODBYE"]


async def test_what_arrives_with_the_close_is_not_handled() -> None:
    setup = build()
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        await settled()
        say(ann, "in the same moment")
        ann.session.close(CloseCode.DISCONNECTED)
        await settled()
        assert not bob.unread


async def test_a_close_before_it_is_served_ends_it_as_soon_as_it_is() -> None:
    setup = build()
    session = await admitted(setup.pond)
    session.close(CloseCode.INTERNAL, "too early")
    peer = MemoryPeer(session)
    await session.run(peer, peer.pull)

    assert (peer.closed, peer.reason) == (CloseCode.INTERNAL, "too early")
    assert not session.is_open
    await assert_nothing_left(setup)


async def test_a_pull_that_closes_the_session_ends_it() -> None:
    setup = build()
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)

    async def pull() -> str | bytes | None:
        await anyio.lowlevel.checkpoint()
        session.close(CloseCode.TOO_BIG, "too big")
        return "not looked at"

    with anyio.fail_after(2):
        await session.run(peer, pull)

    assert peer.closed is CloseCode.TOO_BIG
    assert events(peer) == ["CONNECTION", "GOODBYE"]
    await assert_nothing_left(setup)


async def test_a_pull_that_fails_leaves_nothing_behind() -> None:
    leaves = LeaveLog()
    setup = build()
    setup.lobby.on_leave(leaves)
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)
    peer.send("JOIN_CHANNEL", ROOM, "join")

    async def pull() -> str | bytes | None:
        if not peer._outgoing:
            raise OSError("the outlet is broken")
        return await peer.pull()

    with pytest.raises(ExceptionGroup):
        await session.run(peer, pull)

    assert peer.closed is CloseCode.NORMAL
    assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
    await assert_nothing_left(setup)


# --- the end, by cancellation -----------------------------------------------------------------


@pytest.mark.parametrize("busy", ["idle", "handling", "joining"])
async def test_cancelling_run_leaves_nothing_behind_and_runs_leave_handlers(busy: str) -> None:
    leaves, ended = LeaveLog(), 0

    async def endless(ctx: EventContext | JoinContext) -> None:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            ended += 1

    setup = build()
    setup.lobby.on_message("endless", endless)
    setup.lobby.on_leave(leaves)
    setup.endpoint.create_channel("/limbo", endless)
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)
    async with anyio.create_task_group() as server:
        server.start_soon(session.run, peer, peer.pull)
        await peer.join(ROOM)
        if busy == "handling":
            say(peer, "", event="endless")
        elif busy == "joining":
            peer.send("JOIN_CHANNEL", "/limbo", "join")
        await settled()
        server.cancel_scope.cancel()

    assert leaves.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]
    assert ended == (busy != "idle")
    assert peer.closed is not None
    await assert_nothing_left(setup)


@pytest.mark.parametrize("how", ["leave", "evict"])
async def test_cancelling_run_does_not_cut_off_leave_handlers_that_run_already(how: str) -> None:
    leaves, opened = LeaveLog(), anyio.Event()

    async def slow_leave(ctx: LeaveContext) -> None:
        await opened.wait()
        await leaves(ctx)

    async def evict(ctx: EventContext) -> None:
        await ctx.evict("out", "ann", "bob")

    setup = build()
    setup.lobby.on_leave(slow_leave)
    setup.lobby.on_message("evict", evict)
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)
    async with member(setup, "bob"), anyio.create_task_group() as server:
        server.start_soon(session.run, peer, peer.pull)
        await peer.join(ROOM)
        if how == "leave":
            peer.send("LEAVE_CHANNEL", ROOM, "leave")
        else:
            say(peer, "", event="evict")
        await settled()
        server.cancel_scope.cancel()
        opened.set()

    assert ("ann", "explicit_leave" if how == "leave" else "evicted") in leaves.seen
    assert sorted(user for user, _ in leaves.seen) == ["ann", "bob"]


async def test_outlet_ends_once_and_only_when_no_task_pulls() -> None:
    pulling, ends = 0, 0

    class Strict(MemoryPeer):
        async def pull(self) -> str | bytes | None:
            nonlocal pulling
            pulling += 1
            assert pulling == 1
            try:
                return await super().pull()
            finally:
                pulling -= 1

        def end(
            self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
        ) -> None:
            nonlocal ends
            ends += 1
            assert pulling == 0
            super().end(code, reason, abort=abort, goodbye=goodbye)

    async def slow(ctx: EventContext) -> None:
        await anyio.sleep_forever()

    async def by_peer(peer: MemoryPeer, server: anyio.abc.TaskGroup) -> None:
        peer.vanish()

    async def by_us(peer: MemoryPeer, server: anyio.abc.TaskGroup) -> None:
        peer.session.close(CloseCode.INTERNAL)

    async def by_the_server(peer: MemoryPeer, server: anyio.abc.TaskGroup) -> None:
        server.cancel_scope.cancel()

    setup = build(options=Options(handler_grace=0.01))
    setup.lobby.on_message("slow", slow)
    for number, ending in enumerate([by_peer, by_us, by_the_server], start=1):
        session = await admitted(setup.pond)
        peer = Strict(session)
        async with anyio.create_task_group() as server:
            server.start_soon(session.run, peer, peer.pull)
            await peer.join(ROOM)
            for _ in range(3):
                say(peer, "", event="slow")
            await peer.join("/room/2")
            say(peer, "", "/room/2", event="slow")
            await settled()
            await ending(peer, server)
        assert ends == number


async def test_an_ended_session_is_garbage() -> None:
    setup = build()
    setup.lobby.on_outgoing("say", lambda ctx: None)
    async with member(setup, "ann") as ann:
        say(ann, "x")
        await settled()
        connection_id = ann.session.connection_id
    del ann
    gc.collect()

    sessions = live_objects(Session)
    assert connection_id not in {session.connection_id for session in sessions}


async def test_a_channel_goes_with_its_last_member_without_a_collection() -> None:
    setup = build()
    gc.collect()
    gc.disable()
    try:
        async with member(setup, "ann"):
            assert len(setup.lobby._channels) == 1
        await settled()
        assert len(setup.lobby._channels) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("ending", ["by the peer", "by us"])
async def test_a_session_goes_with_its_connection_without_a_collection(ending: str) -> None:
    setup = build()

    async def live() -> str:
        async with member(setup, "ann") as ann:
            say(ann, "x")
            await settled()
            if ending == "by us":
                ann.session.close(CloseCode.DISCONNECTED)
                await ann.session.wait_ended()
            return ann.session.connection_id

    gc.collect()
    gc.disable()
    try:
        connection_id = await live()
        await settled()
        left = [each for each in live_objects(Session) if each.connection_id == connection_id]
        assert left == []
    finally:
        gc.enable()


async def test_no_caller_waits_for_a_session_that_never_ran() -> None:
    setup = build()
    session = await admitted(setup.pond)
    session.close(CloseCode.DISCONNECTED)
    with anyio.fail_after(5):
        await session.wait_ended()
