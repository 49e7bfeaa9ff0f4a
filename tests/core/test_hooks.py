"""Hooks and metrics: told of everything, able to break nothing, free when unset."""

from collections import Counter as Counts
from typing import Any

import anyio
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectRequest,
    Counter,
    EventContext,
    Hooks,
    JoinContext,
    LeaveContext,
    LeaveReason,
    Metrics,
    OutgoingContext,
    PondError,
    PondSocket,
    User,
)
from pondsocket.testing import ConnectionRefused, FakeClock, connect

from tests.core.members import settled
from tests.core.ponds import ROOM, accept_join, admit, error_records


class HookLog(Hooks):
    """Hooks that record every call."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def connected(self, user_id: str, request: ConnectRequest) -> None:
        self.seen.append(("connected", user_id, request.path))

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        self.seen.append(("disconnected", user_id, request.path, code, seconds))

    def joined(self, channel_name: str, user: User) -> None:
        self.seen.append(("joined", channel_name, user.id, dict(user.assigns)))

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        self.seen.append(("left", channel_name, user.id, reason))

    def message(self, channel_name: str, event: str, user_id: str) -> None:
        self.seen.append(("message", channel_name, event, user_id))

    def error(self, error: BaseException, channel_name: str, event: str, user_id: str) -> None:
        self.seen.append(("error", str(error), channel_name, event, user_id))


class Broken(HookLog):
    """Hooks that raise at every call."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and callable(getattr(Hooks, name, None)):
            raise ValueError(f"broken {name}")
        return super().__getattribute__(name)


class Numbers:
    """Metrics that sum everything."""

    def __init__(self, *, broken: bool = False) -> None:
        self.counts: Counts[str] = Counts()
        self.depths: list[int] = []
        self.broken = broken

    def count(self, counter: Counter, amount: int) -> None:
        self.counts[counter] += amount
        if self.broken:
            raise ValueError("broken count")

    def queue_depth(self, frames: int) -> None:
        self.depths.append(frames)
        if self.broken:
            raise ValueError("broken depth")


def watched(
    hooks: Hooks | None = None, metrics: Metrics | None = None, clock: FakeClock | None = None
) -> PondSocket:
    pond = PondSocket(hooks=hooks, metrics=metrics, clock=clock or FakeClock())
    endpoint = pond.create_endpoint("/socket", admit)

    @endpoint.on_message("ping_me")
    async def ping_me() -> str:
        return "done"

    @endpoint.channel("/room/:id")
    async def room(ctx: JoinContext) -> None:
        if ctx.join_params.get("fail"):
            raise ValueError("join failed")
        if ctx.join_params.get("refuse"):
            raise PondError("No.", 409)
        await ctx.accept({"colour": "red"})

    @room.on_message("say")
    async def say(ctx: EventContext) -> None:
        await ctx.broadcast("said", {})

    @room.on_message("fail")
    async def fail(ctx: EventContext) -> None:
        raise ValueError("event failed")

    @room.on_message("refuse")
    async def refuse(ctx: EventContext) -> None:
        raise PondError("No.")

    @room.on_message("typed")
    async def typed(ctx: EventContext, n: int) -> None: ...

    @room.on_leave
    async def leave(ctx: LeaveContext) -> None:
        if ctx.user.id == "eve":
            raise ValueError("leave failed")

    return pond


async def test_hooks_are_told_of_everything_in_order() -> None:
    hook_log, clock = HookLog(), FakeClock()
    pond = watched(hook_log, clock=clock)
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        for event in ("say", "fail"):
            ann.send("BROADCAST", ROOM, event)
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "ping_me"))
        await settled()
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.receive_event("EXIT_ACKNOWLEDGE")
        clock.advance(12.5)
    assert hook_log.seen == [
        ("connected", "ann", "/socket"),
        ("joined", ROOM, "ann", {"user_id": "ann", "colour": "red"}),
        ("message", ROOM, "say", "ann"),
        ("message", ROOM, "fail", "ann"),
        ("error", "event failed", ROOM, "fail", "ann"),
        ("message", "GATEWAY", "ping_me", "ann"),
        ("left", ROOM, "ann", "explicit_leave"),
        ("disconnected", "ann", "/socket", CloseCode.NORMAL, 12.5),
    ]


async def test_what_the_application_says_no_to_is_no_error() -> None:
    hook_log = HookLog()
    async with connect(watched(hook_log), "/socket?user=ann") as ann:
        await ann.join(ROOM, {"refuse": True})
        await ann.join(ROOM)
        for event in ("refuse", "typed", "unknown"):
            await ann.answer(ann.send("BROADCAST", ROOM, event))
    assert "error" not in {entry[0] for entry in hook_log.seen}


async def test_failures_of_joins_leaves_and_connections_are_errors() -> None:
    hook_log = HookLog()
    pond = watched(hook_log)

    @pond.endpoint("/broken")
    async def broken(ctx: ConnectionContext) -> None:
        raise ValueError("connect failed")

    with pytest.raises(ConnectionRefused):
        async with connect(pond, "/broken"):
            pass
    async with connect(pond, "/socket?user=eve") as eve:
        await eve.join(ROOM, {"fail": True})
        await eve.join(ROOM)
    errors = [entry[1:4] for entry in hook_log.seen if entry[0] == "error"]
    assert errors == [
        ("connect failed", "GATEWAY", "CONNECT"),
        ("join failed", ROOM, "JOIN"),
        ("leave failed", ROOM, "LEAVE"),
    ]


async def test_the_reason_of_an_end_is_told() -> None:
    hook_log = HookLog()
    pond = watched(hook_log)
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        await pond.disconnect(user_id="ann")
        await ann.wait_closed()
    ends = [entry for entry in hook_log.seen if entry[0] in ("left", "disconnected")]
    assert ends == [
        ("left", ROOM, "ann", "connection_closed"),
        ("disconnected", "ann", "/socket", CloseCode.DISCONNECTED, 0.0),
    ]


async def test_metrics_count_everything() -> None:
    numbers = Numbers()
    pond = watched(metrics=numbers)
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        for event in ("say", "fail"):
            ann.send("BROADCAST", ROOM, event)
        await ann.receive_event("INTERNAL_SERVER_ERROR")
    assert {counter: numbers.counts[counter] for counter in Counter} == {
        Counter.CONNECTED: 1,
        Counter.DISCONNECTED: 1,
        Counter.JOINED: 1,
        Counter.LEFT: 1,
        Counter.MESSAGE: 2,
        Counter.ERROR: 1,
        Counter.FRAMES_OUT: 4,
        Counter.BYTES_OUT: numbers.counts[Counter.BYTES_OUT],
        Counter.SLOW_CONSUMER: 0,
        Counter.DROPPED: 0,
    }
    assert 400 < numbers.counts[Counter.BYTES_OUT] < 1_200
    assert len(numbers.depths) == 4
    assert numbers.depths[0] == 1


async def test_metrics_count_the_bytes_that_are_written() -> None:
    numbers = Numbers()
    pond = watched(metrics=numbers)
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        ann.drain()
        before = numbers.counts[Counter.BYTES_OUT]
        await pond.channel("/socket", ROOM).broadcast("said", {"text": "é"})
        size = sum(len(frame.encoded) for frame in ann._frames)
        assert numbers.counts[Counter.BYTES_OUT] - before == size


async def test_slow_consumers_and_queue_depths_are_counted() -> None:
    numbers = Numbers()
    pond = watched(metrics=numbers)
    async with connect(pond, "/socket?user=ann", capacity=5) as ann:
        await ann.join(ROOM)
        for _ in range(10):
            ann.send("BROADCAST", ROOM, "say")
        assert await ann.wait_closed() == CloseCode.SLOW_CONSUMER
    assert numbers.counts[Counter.SLOW_CONSUMER] == 1
    assert max(numbers.depths) == 5


async def test_hooks_and_metrics_that_raise_are_logged_and_change_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pond = watched(Broken(), Numbers(broken=True))
    async with connect(pond, "/socket?user=ann") as ann:
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("said")
        ann.send("BROADCAST", ROOM, "fail")
        await ann.receive_event("INTERNAL_SERVER_ERROR")
        with anyio.fail_after(2):
            await pond.close()
    for name in ("connected", "joined", "message", "error", "left", "disconnected"):
        assert f"A hook failed ({name})." in caplog.text
    assert "Metrics failed (frames_out)." in caplog.text
    assert "Metrics failed (queue_depth)." in caplog.text


async def test_unset_nothing_is_called() -> None:
    pond = watched()
    assert pond._environment.observer is None
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        assert ann.session.environment.counting is None


async def test_hooks_alone_are_not_told_of_every_frame() -> None:
    pond = watched(HookLog())
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        assert ann.session.environment.counting is None


@pytest.mark.parametrize("waits", [True, False])
async def test_an_outgoing_handler_that_fails_is_an_error_of_its_recipient(waits: bool) -> None:
    hook_log = HookLog()
    pond = watched(hook_log)

    def fail(ctx: OutgoingContext) -> None:
        raise ValueError("broken")

    async def fail_late(ctx: OutgoingContext) -> None:
        raise ValueError("broken")

    endpoint = pond.create_endpoint("/filtered", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join)
    lobby.on_outgoing("said", fail_late if waits else fail)
    async with connect(pond, "/filtered?user=ann") as ann:
        await ann.join(ROOM)
        await pond.channel("/filtered", ROOM).broadcast("said")
        await settled()
    assert [line for line in hook_log.seen if line[0] == "error"] == [
        ("error", "broken", ROOM, "said", "ann")
    ]


class WithPaths(HookLog):
    """Hooks that ask for the path as well, where they may."""

    def joined(self, channel_name: str, user: User, *, path: str = "") -> None:
        self.seen.append(("joined", path, channel_name))

    def left(self, channel_name: str, user: User, reason: LeaveReason, *, path: str = "") -> None:
        self.seen.append(("left", path, channel_name))

    def message(self, channel_name: str, event: str, user_id: str, path: str = "") -> None:
        self.seen.append(("message", path, channel_name))

    def error(
        self,
        error: BaseException,
        channel_name: str,
        event: str,
        user_id: str,
        *,
        path: str = "",
    ) -> None:
        self.seen.append(("error", path, channel_name, event))


@pytest.mark.parametrize("shared", [False, True])
async def test_hooks_that_ask_for_the_path_are_told_whose_channel_it_is(
    caplog: pytest.LogCaptureFixture, *, shared: bool
) -> None:
    hook_log, pattern = WithPaths(), "/:tenant/socket"
    pond = PondSocket(hooks=hook_log)

    async def connecting(ctx: ConnectionContext) -> None:
        await admit(ctx)
        if ctx.user_id == "eve":
            raise ValueError("connect failed")

    async def fail(ctx: object) -> None:
        raise ValueError("failed")

    async def join(ctx: JoinContext) -> None:
        if ctx.join_params:
            raise ValueError("join failed")
        await ctx.accept()

    endpoint = pond.create_endpoint(pattern, connecting, shared_channels=shared)
    endpoint.on_message("fail", fail)
    room = endpoint.create_channel("/room/:id", join)
    room.on_message("fail", fail)
    room.on_leave(fail)
    room.on_outgoing("news", lambda ctx: 1 / 0)
    with pytest.raises(ConnectionRefused):
        async with connect(pond, "/acme/socket?user=eve"):
            pass
    async with connect(pond, "/acme/socket?user=ann") as ann:
        await ann.join(ROOM, {"fail": True})
        await ann.join(ROOM)
        await pond.channel(pattern if shared else "/acme/socket", ROOM).broadcast("news", {})
        for name in (ROOM, "GATEWAY"):
            await ann.answer(ann.send("BROADCAST", name, "fail"))
    path = pattern if shared else "/acme/socket"
    assert hook_log.seen == [
        ("error", "/acme/socket", "GATEWAY", "CONNECT"),
        ("connected", "ann", "/acme/socket"),
        ("error", path, ROOM, "JOIN"),
        ("joined", path, ROOM),
        ("error", path, ROOM, "news"),
        ("message", path, ROOM),
        ("error", path, ROOM, "fail"),
        ("message", "/acme/socket", "GATEWAY"),
        ("error", "/acme/socket", "GATEWAY", "fail"),
        ("left", path, ROOM),
        ("disconnected", "ann", "/acme/socket", CloseCode.NORMAL, hook_log.seen[-2][-1]),
        ("error", path, ROOM, "LEAVE"),
    ]
    for line in error_records(caplog):
        assert "path='/" in line.getMessage()


class HidesItsSignature(HookLog):
    joined = print  # type: ignore[assignment]


async def test_hooks_that_hide_their_signature_are_called_without_the_path(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with connect(watched(HidesItsSignature()), "/socket?user=ann") as ann:
        await ann.join(ROOM)
    assert capsys.readouterr().out.startswith(f"{ROOM} User(")
