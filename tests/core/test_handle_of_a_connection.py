"""`ctx.connection`: one connection, kept by tasks and threads, and closed alone."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectionHandle,
    EncodingError,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    LeaveReason,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    UsageError,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Goodbye

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, PondSetup, build


def keeping(setup: PondSetup) -> list[ConnectionHandle]:
    """Have an event of the endpoint keep its connection, in the list that is returned."""
    kept: list[ConnectionHandle] = []

    @setup.endpoint.on_message("keep")
    async def keep(ctx: GatewayContext) -> None:
        kept.append(ctx.connection)

    return kept


async def kept_of(peer: MemoryPeer, kept: list[ConnectionHandle]) -> ConnectionHandle:
    peer.send("BROADCAST", "GATEWAY", "keep")
    await settled()
    peer.drain()
    return kept[-1]


def numbers(peer: MemoryPeer) -> list[Any]:
    return [each.payload["n"] for each in peer.drain()]  # type: ignore[index]


async def test_all_contexts_of_a_connection_have_one_handle_and_others_have_another() -> None:
    seen: list[ConnectionHandle] = []

    async def join(ctx: JoinContext) -> None:
        seen.append(ctx.connection)
        await ctx.accept()

    setup = build(join)

    @setup.lobby.on_message("ask")
    def ask(ctx: SyncEventContext) -> str:
        seen.append(ctx.connection)
        return "done"

    kept = keeping(setup)
    async with member(setup, "ann") as ann, connect(setup.pond, "/socket?user=ann") as other:
        await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        first, second = await kept_of(ann, kept), await kept_of(other, kept)
        await settled()
        while len(seen) < 2:
            await anyio.lowlevel.checkpoint()
        assert seen == [first, first]
        assert first.ref != second.ref
        assert len(first.ref) >= 20
        assert first.ref not in (ann.session.connection_id, "ann")
        assert ann.session.connection_id not in repr(first)


async def test_a_handle_shows_the_user_and_the_assigns_also_after_the_end() -> None:
    async def admit_ann(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann", role="admin")

    setup = build(connect=admit_ann)
    kept = keeping(setup)
    async with connect(setup.pond, "/socket") as ann:
        handle = await kept_of(ann, kept)
        assert (handle.user.id, handle.user.presence) == ("ann", None)
        assert handle.user.assigns == {"user_id": "ann", "role": "admin"}
        handle.assigns["jobs"] = 1  # the same as `set_assign` of the endpoint's events
        assert ann.session.assigns["jobs"] == 1
        assert handle.is_open
        assert "open" in repr(handle)
    assert not handle.is_open
    assert "ended" in repr(handle)
    assert (handle.user.id, handle.user.assigns["jobs"]) == ("ann", 1)


async def test_a_task_that_outlives_the_handler_pushes_until_the_connection_ends() -> None:
    setup = build()
    results: list[bool] = []
    go_on = [anyio.Event() for _ in range(3)]

    async with anyio.create_task_group() as tasks:

        async def later(connection: ConnectionHandle) -> None:
            for n, event in enumerate(go_on):
                await event.wait()
                results.append(connection.push("progress", {"n": n}))

        @setup.endpoint.on_message("import")
        async def start(ctx: GatewayContext) -> str:
            tasks.start_soon(later, ctx.connection)
            return "started"

        async with connect(setup.pond, "/socket") as ann:
            await ann.answer(ann.send("BROADCAST", "GATEWAY", "import"))
            ann.drain()
            for event in go_on[:2]:
                event.set()
                await settled()
            assert numbers(ann) == [0, 1]
        go_on[2].set()
    assert results == [True, True, False]


async def test_a_thread_pushes_in_order_and_is_told_that_the_connection_has_ended() -> None:
    setup = build()
    kept = keeping(setup)
    async with member(setup, "ann") as ann, member(setup, "ann") as other:
        handle = await kept_of(ann, kept)

        def work() -> list[bool]:
            payload: dict[str, object] = {}
            results = []
            for n in range(200):
                payload["n"] = n  # the caller's object may change as soon as `push` has returned
                channel = ROOM if n % 2 else None
                results.append(handle.push("progress", payload, channel=channel))
            return results

        assert await anyio.to_thread.run_sync(work) == [True] * 200
        await settled()
        assert numbers(ann) == [*range(200)]
        assert events(other) == []
    assert not await anyio.to_thread.run_sync(handle.push, "progress")


async def test_several_threads_keep_their_own_order() -> None:
    setup = build()
    kept = keeping(setup)
    async with connect(setup.pond, "/socket") as ann:
        handle = await kept_of(ann, kept)

        def work(who: int) -> None:
            for n in range(100):
                handle.push("tick", {"n": (who, n)})

        async with anyio.create_task_group() as tasks:
            for who in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, work, who)
        await settled()
        got = numbers(ann)
        for who in range(4):
            assert [n for each, n in got if each == who] == [*range(100)]


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_channel_that_it_is_not_in_gets_nothing_and_an_unknown_one_is_an_error(
    where: str,
) -> None:
    setup = build()
    kept = keeping(setup)
    async with member(setup, "ann") as ann:
        handle = await kept_of(ann, kept)

        def attempt() -> None:
            assert not handle.push("x", channel="/room/2")
            for unknown in ("/nowhere", "room", "", "/room/"):
                with pytest.raises(UsageError, match="the endpoint has no channel"):
                    handle.push("x", channel=unknown)
            with pytest.raises(UsageError, match="a name of the protocol's own"):
                handle.push("GOODBYE")
            with pytest.raises(EncodingError, match="when"):
                handle.push("x", {"when": object()})

        if where == "loop":
            attempt()
        else:
            await anyio.to_thread.run_sync(attempt)
        await settled()
        assert ann.unread == []


class Heavy:
    """Something that a connection holds: here part of the scope of its request."""


async def test_a_handle_keeps_nothing_of_a_connection_that_has_ended() -> None:
    setup = build()
    kept = keeping(setup)
    async with member(setup, "ann") as ann:
        handle = await kept_of(ann, kept)
        message = Heavy()
        ann.session.identity = message
        seen = weakref.ref(message)
        del message
    del ann
    gc.collect()
    assert seen() is None
    assert not handle.is_open
    kept.clear()


async def test_a_loop_that_has_ended_is_no_error_of_a_thread() -> None:
    """Of a session whose loop is gone without a word, for instance a killed one."""

    class Connection:
        assigns: dict[str, Any] = {}  # noqa: RUF012 - a stand-in
        user_id = "ann"
        is_open = True
        memberships: dict[str, Any] = {}  # noqa: RUF012

        def __init__(self) -> None:
            self.environment = build().pond._environment

        def push(self, frame: object) -> bool:
            return True

    made: list[ConnectionHandle] = []

    def serve() -> None:
        async def run() -> None:
            connection = Connection()
            connection.environment.loop.enter()
            made.append(ConnectionHandle(connection))  # type: ignore[arg-type]

        anyio.run(run)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert not made[0].push("x")


# --- its end ----------------------------------------------------------------------------------

Close = Callable[[Any], Any]


async def close_in_event(ctx: EventContext) -> None:
    await ctx.close(reason="done")


def close_in_plain_event(ctx: SyncEventContext) -> None:
    ctx.close("done")


async def close_by_handle(ctx: EventContext) -> None:
    ctx.connection.close("done")


def close_by_handle_in_a_thread(ctx: SyncEventContext) -> None:
    ctx.connection.close(reason="done")


@pytest.mark.parametrize(
    "handler", [close_in_event, close_in_plain_event, close_by_handle, close_by_handle_in_a_thread]
)
async def test_closing_ends_this_connection_alone(handler: Close) -> None:
    setup = build()
    setup.lobby.on_message("end", handler)
    left: list[LeaveReason] = []

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.reason)

    async with member(setup, "ann") as ann, member(setup, "ann") as other:
        ann.send("BROADCAST", ROOM, "end")
        assert await ann.wait_closed() == CloseCode.DISCONNECTED
        (goodbye,) = [each.payload for each in ann.drain() if each.event == "GOODBYE"]
        assert goodbye == Goodbye(CloseCode.DISCONNECTED, "done", reconnect=False, after_ms=0)
        assert ann.reason == "done"
        await settled()
        assert other.closed is None
        assert left == []
        assert await setup.endpoint.connection_count() == 1


@pytest.mark.parametrize("is_plain", [False, True])
async def test_an_event_of_the_endpoint_closes_with_the_code_that_it_gives(is_plain: bool) -> None:
    setup = build()

    async def end(ctx: GatewayContext) -> None:
        await ctx.push("last")
        await ctx.close(code=CloseCode.UNAUTHENTICATED)

    def plain_end(ctx: SyncGatewayContext) -> None:
        ctx.push("last")
        ctx.close(code=CloseCode.UNAUTHENTICATED)

    setup.endpoint.on_message("end", plain_end if is_plain else end)
    async with connect(setup.pond, "/socket") as ann:
        ann.send("BROADCAST", "GATEWAY", "end")
        assert await ann.wait_closed() == 4401
        messages = ann.drain()
        assert [each.event for each in messages] == ["CONNECTION", "last", "GOODBYE"]
        goodbye = messages[-1].payload
        assert isinstance(goodbye, Goodbye)
        assert (goodbye.reason, goodbye.reconnect) == ("closed by the application", True)


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("first", ["close", "accept"])
async def test_a_join_may_close_the_connection(first: str, is_plain: bool) -> None:
    async def join(ctx: JoinContext) -> None:
        if first == "accept":
            await ctx.accept()
        await ctx.close("full")

    def plain_join(ctx: SyncJoinContext) -> None:
        if first == "accept":
            ctx.accept()
        ctx.close("full")

    setup = build(plain_join if is_plain else join)
    async with connect(setup.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        assert await ann.wait_closed() == 4403
        accepted = ["ACKNOWLEDGE"] if first == "accept" else []
        assert events(ann) == ["CONNECTION", *accepted, "GOODBYE"]
    assert await setup.lobby.list_channels() == []


async def test_a_reason_that_is_no_text_or_a_code_that_is_none_ends_nothing() -> None:
    setup = build()
    kept = keeping(setup)
    async with connect(setup.pond, "/socket") as ann:
        handle = await kept_of(ann, kept)
        with pytest.raises(UsageError, match="the reason is a text"):
            handle.close(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="99"):
            handle.close(code=99)  # type: ignore[arg-type]
        assert ann.closed is None
        handle.close()
        handle.close()
        assert await ann.wait_closed() == 4403
    handle.close("again")


async def test_a_handler_that_goes_on_after_the_end_has_a_handle_that_is_over() -> None:
    setup = build()
    latch = anyio.Event()
    seen: list[bool] = []

    @setup.endpoint.on_message("slow")
    async def slow(ctx: GatewayContext) -> None:
        await latch.wait()
        await ctx.push("late")
        seen.append(ctx.connection.push("late"))
        seen.append(ctx.connection.is_open)

    async with anyio.create_task_group() as tasks:
        async with connect(setup.pond, "/socket") as ann:
            ann.send("BROADCAST", "GATEWAY", "slow")
            await settled()
            ann.drain()
            ann.vanish()
            await settled()
            tasks.start_soon(settled)
            latch.set()
        assert seen == [False, False]
        assert events(ann) == []
