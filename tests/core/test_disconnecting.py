"""`on_disconnect` of an endpoint: once for each connection that was open, after its leaves."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectionHandle,
    DisconnectContext,
    EventContext,
    GatewayContext,
    Hooks,
    LeaveContext,
    Next,
    Options,
    PondSocket,
    SyncDisconnectContext,
    UsageError,
)
from pondsocket._state.request import Transport
from pondsocket.testing import MemoryPeer, connect

from tests.core.members import events, member, settled
from tests.core.ponds import (
    ROOM,
    PondSetup,
    admit,
    admitted,
    build,
    error_records,
    logged_error,
)

End = tuple[str, CloseCode | int, str, str]


def watched(setup: PondSetup) -> list[End]:
    """Note each disconnect in the list that is returned: user, code, reason, path."""
    seen: list[End] = []

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((ctx.user.id, ctx.code, ctx.reason, ctx.path))

    return seen


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_it_is_called_once_for_each_connection_of_a_user(transport: Transport) -> None:
    setup = build()
    seen = watched(setup)
    async with connect(setup.pond, "/socket?user=ann", transport=transport) as first:
        async with connect(setup.pond, "/socket?user=ann", transport=transport):
            assert seen == []
        assert seen == [("ann", CloseCode.NORMAL, "", "/socket")]
        assert first.closed is None
    assert seen == [("ann", CloseCode.NORMAL, "", "/socket")] * 2
    assert isinstance(seen[0][1], CloseCode)


async def test_it_runs_after_the_leave_handlers_and_may_broadcast_to_the_endpoint() -> None:
    setup = build()
    log: list[str] = []
    go_on = anyio.Event()

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        await go_on.wait()
        log.append(f"leave {ctx.channel.name}")

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        log.append("disconnect")
        await ctx.broadcast("gone", {"user": ctx.user.id, "seen": ctx.assigns["seen"]})

    async with connect(setup.pond, "/socket?user=bob") as bob:
        bob.drain()
        async with member(setup, "ann") as ann:
            await ann.join("/room/2")
            ann.session.assigns["seen"] = 7
            ann.vanish()
            await settled()
            assert log == []
            go_on.set()
        assert (sorted(log[:2]), log[2:]) == ([f"leave {ROOM}", "leave /room/2"], ["disconnect"])
        (gone,) = bob.drain()
        assert (gone.channel_name, gone.event) == ("GATEWAY", "gone")
        assert gone.payload == {"user": "ann", "seen": 7}


async def test_it_is_told_which_connection_it_was() -> None:
    setup = build()
    jobs: dict[str, ConnectionHandle] = {}
    ended: list[bool] = []

    @setup.endpoint.on_message("start")
    async def start(ctx: GatewayContext) -> None:
        jobs[ctx.connection.ref] = ctx.connection

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        connection = jobs.pop(ctx.connection.ref)
        ended.append(connection is ctx.connection and not connection.is_open)

    async with connect(setup.pond, "/socket?user=ann") as ann:
        ann.send("BROADCAST", "GATEWAY", "start")
        await settled()
        assert len(jobs) == 1
    assert (jobs, ended) == ({}, [True])


async def test_a_plain_function_runs_in_a_thread_with_the_same_names_and_the_parameters() -> None:
    pond = PondSocket()
    seen: list[Any] = []

    @pond.endpoint("/:tenant/socket")
    async def socket(ctx: ConnectionContext, user: str) -> None:
        ctx.accept(user_id=user, role="admin")

    @socket.on_disconnect()
    def disconnected(ctx: SyncDisconnectContext, tenant: str) -> None:
        seen.append((tenant, ctx.params["tenant"], ctx.path, ctx.code, ctx.reason))
        seen.append((ctx.user.assigns["role"], ctx.assigns["role"], ctx.connection.is_open))
        ctx.broadcast("gone", {"user": ctx.user.id})

    async with (
        connect(pond, "/acme/socket?user=bob") as bob,
        connect(pond, "/rival/socket?user=eve") as eve,
    ):
        for peer in (bob, eve):
            peer.drain()
        async with connect(pond, "/acme/socket?user=ann"):
            await pond.disconnect(user_id="ann", reason="bye")
        assert events(bob) == ["gone"]
        assert events(eve) == []  # another tenant
    assert seen[:2] == [
        ("acme", "acme", "/acme/socket", CloseCode.DISCONNECTED, "bye"),
        ("admin", "admin", False),
    ]


async def test_paths_that_share_their_channels_share_these_broadcasts() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/v:version/socket", admit, shared_channels=True)

    @endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        await ctx.broadcast("gone")

    async with connect(pond, "/v1/socket") as bob:
        bob.drain()
        async with connect(pond, "/v2/socket"):
            pass
        assert events(bob) == ["gone"]


async def close_pond(setup: PondSetup, ann: MemoryPeer) -> None:
    await setup.pond.close()


async def drain(setup: PondSetup, ann: MemoryPeer) -> None:
    await setup.pond.drain(0)


async def fall_behind(setup: PondSetup, ann: MemoryPeer) -> None:
    ann.capacity = 0
    await setup.endpoint.broadcast("too much")


async def close_itself(setup: PondSetup, ann: MemoryPeer) -> None:
    ann.send("BROADCAST", "GATEWAY", "end")


async def flood(setup: PondSetup, ann: MemoryPeer) -> None:
    for _ in range(3):
        ann.send_raw("no message")


async def peer_closes(setup: PondSetup, ann: MemoryPeer) -> None:
    ann.session.closed_by_peer(1001, "page left")
    ann.vanish()


ENDS: dict[str, tuple[Callable[[PondSetup, MemoryPeer], Any], int, str]] = {
    "close": (close_pond, CloseCode.GOING_AWAY, "the server is closing"),
    "drain": (drain, CloseCode.RESTART, "the server restarts"),
    "slow": (fall_behind, CloseCode.SLOW_CONSUMER, "slow consumer"),
    "itself": (close_itself, CloseCode.UNAUTHENTICATED, "expired"),
    "refusals": (flood, CloseCode.RATE_LIMITED, "too many requests over the limits"),
    "the peer": (peer_closes, 1001, "page left"),
}


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("end", ENDS)
async def test_it_is_told_how_the_connection_has_ended(end: str, transport: Transport) -> None:
    act, code, reason = ENDS[end]
    setup = build(options=Options(max_refusals=2))
    seen = watched(setup)

    @setup.endpoint.on_message("end")
    async def close(ctx: GatewayContext) -> None:
        await ctx.close("expired", code=CloseCode.UNAUTHENTICATED)

    with anyio.fail_after(5):
        async with connect(setup.pond, "/socket?user=ann", transport=transport) as ann:
            await act(setup, ann)
            await settled()
        assert seen == [("ann", code, reason, "/socket")]
    assert isinstance(seen[0][1], CloseCode) is (end != "the peer")


async def test_it_runs_when_the_server_cancels_the_connection() -> None:
    setup = build()
    seen = watched(setup)
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run, peer, peer.pull)
        await settled()
        tasks.cancel_scope.cancel()
    assert seen == [("ann", CloseCode.INTERNAL, "the server failed", "/socket")]


async def test_a_connection_that_was_refused_or_never_opened_is_not_told() -> None:
    setup = build(connect=lambda ctx: ctx.decline(403, "no"))
    seen = watched(setup)
    with pytest.raises(Exception, match="403"):
        async with connect(setup.pond, "/socket"):
            raise AssertionError
    other = build()
    seen_too = watched(other)
    session = await admitted(other.pond)
    session.close(CloseCode.DISCONNECTED)
    peer = MemoryPeer(session)
    await session.run(peer, peer.pull)
    assert (seen, seen_too) == ([], [])


# --- what goes wrong --------------------------------------------------------------------------


class Errors(Hooks):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, str]] = []

    def error(
        self, error: BaseException, channel_name: str, event: str, user_id: str, *, path: str = ""
    ) -> None:
        self.seen.append((channel_name, event, user_id, path))


@pytest.mark.parametrize("is_plain", [False, True])
async def test_a_failure_is_logged_and_counted_and_the_connection_ends_all_the_same(
    is_plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Errors()
    pond = PondSocket(hooks=hooks)
    endpoint = pond.create_endpoint("/socket", admit)

    async def fail(ctx: DisconnectContext) -> None:
        raise LookupError("mine")

    def fail_plainly(ctx: SyncDisconnectContext) -> None:
        raise LookupError("mine")

    endpoint.on_disconnect(fail_plainly if is_plain else fail)
    async with connect(pond, "/socket?user=ann"):
        pass
    assert "A disconnect handler failed (channel='GATEWAY' user='ann'" in logged_error(caplog)
    assert "LookupError: mine" in caplog.text
    assert hooks.seen == [("GATEWAY", "DISCONNECT", "ann", "/socket")]
    assert await endpoint.connection_count() == 0


async def test_it_runs_after_a_leave_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()
    seen = watched(setup)

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        raise LookupError("mine")

    async with member(setup, "ann"):
        pass
    assert [user for user, *_ in seen] == ["ann"]
    assert "A leave handler failed" in logged_error(caplog)


async def test_a_handler_that_hangs_is_ended_by_the_time_limit_of_leave_handlers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build(options=Options(leave_timeout=0.05))
    is_cancelled: list[bool] = []

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            is_cancelled.append(True)

    with anyio.fail_after(2):
        async with connect(setup.pond, "/socket?user=ann"):
            pass
    assert is_cancelled == [True]
    assert "A disconnect handler took over 0.05 s" in caplog.text


async def test_what_it_returns_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> str:
        return "dropped"

    async with connect(setup.pond, "/socket?user=ann"):
        pass
    assert "A returned value was dropped" in caplog.text
    assert error_records(caplog) == []


async def test_middleware_goes_around_it() -> None:
    setup = build()
    log: list[str] = []

    async def around(ctx: DisconnectContext, next: Next) -> None:  # noqa: A002
        log.append("before")
        await next()
        log.append("after")

    @setup.endpoint.on_disconnect(middlewares=[around])
    async def disconnected() -> None:
        log.append("handler")

    async with connect(setup.pond, "/socket"):
        pass
    assert log == ["before", "handler", "after"]


@pytest.mark.parametrize("call", ["close", "drain"])
async def test_it_may_close_the_pond_without_waiting_for_itself(call: str) -> None:
    setup = build()
    done = anyio.Event()

    @setup.endpoint.on_disconnect
    async def disconnected(ctx: DisconnectContext) -> None:
        await getattr(setup.pond, call)()
        done.set()

    with anyio.fail_after(3):
        async with connect(setup.pond, "/socket?user=ann"):
            pass
        await done.wait()


def test_what_cannot_be_a_disconnect_handler_fails_at_registration() -> None:
    setup = build()

    async def of_events(ctx: EventContext) -> None: ...
    async def with_payload(ctx: DisconnectContext, payload: dict[str, int]) -> None: ...
    def plain(ctx: DisconnectContext) -> None: ...
    async def good(ctx: DisconnectContext) -> None: ...

    for handler, text in (
        (of_events, "this disconnect handler is given is DisconnectContext"),
        (with_payload, "A disconnect has no payload"),
        (plain, "write `async def`, or `ctx: SyncDisconnectContext`"),
        (None, "a function .ctx. is needed"),
    ):
        with pytest.raises(UsageError, match=text):
            setup.endpoint.on_disconnect(handler)  # type: ignore[type-var]
    assert setup.endpoint.on_disconnect(good) is good
    with pytest.raises(UsageError, match="has a disconnect handler already"):
        setup.endpoint.on_disconnect(good)


async def test_an_endpoint_without_one_leaves_nothing_to_do() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        assert setup.endpoint.routing.ended(ann.session) == []
        assert ann.session._ending.handle is None
