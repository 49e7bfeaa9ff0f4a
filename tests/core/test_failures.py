"""`pond.on_error`: told what handlers raise, and unable to change or delay an answer."""

import logging
from contextvars import ContextVar
from typing import Any, Final

import anyio
import pytest
from pondsocket import (
    ConnectionContext,
    ErrorContext,
    EventContext,
    Hooks,
    JoinContext,
    LeaveContext,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    Router,
    UsageError,
    on_message,
)
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import Fault

from tests.core.groups import accept
from tests.core.ponds import admit, error_records

CHAT: Final = "/chat/1"


def build(pond: PondSocket) -> PondSocket:
    """Give a pond handlers of each kind that fail, with the name of the kind."""

    @pond.endpoint("/fails")
    async def fails(ctx: ConnectionContext) -> None:
        raise LookupError("connect")

    endpoint = pond.create_endpoint("/socket", admit)

    @endpoint.on_message("fail")
    async def gateway(ctx: EventContext) -> None:
        raise LookupError("gateway")

    @endpoint.channel("/fails")
    def join(room: int = 1) -> None:
        raise LookupError("join")

    lobby = endpoint.create_channel("/chat/:id", accept)

    @lobby.on_message("fail")
    async def event(ctx: EventContext) -> None:
        raise LookupError("event")

    @lobby.on_message("refuse")
    async def refuse(ctx: EventContext) -> None:
        raise PondError("no", 403)

    @lobby.on_message("said")
    async def say(ctx: EventContext) -> None:
        await ctx.broadcast("said", {})

    @lobby.on_outgoing("said")
    def outgoing(ctx: OutgoingContext) -> None:
        raise LookupError("outgoing")

    @lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        raise LookupError("leave")

    return pond


class Told:
    """Error handlers that keep what they are told."""

    def __init__(self) -> None:
        self.errors: list[ErrorContext] = []
        self._changed = anyio.Event()

    async def __call__(self, ctx: ErrorContext) -> None:
        self.errors.append(ctx)
        self._changed.set()

    def plain(self, ctx: ErrorContext) -> None:
        anyio.from_thread.run(self.__call__, ctx)  # which works in a worker thread alone

    async def wait(self, count: int) -> list[ErrorContext]:
        with anyio.fail_after(5):
            while len(self.errors) < count:
                self._changed = anyio.Event()
                await self._changed.wait()
        return self.errors


async def failed(peer: MemoryPeer, event: str, name: str = CHAT) -> str:
    """Send an event; return the error that answers it."""
    answer = await peer.answer(peer.send("BROADCAST", name, event))
    assert isinstance(answer.payload, Fault)
    return answer.event


@pytest.mark.parametrize("is_plain", [False, True])
async def test_it_is_told_of_all_kinds_of_handlers_with_their_contexts(is_plain: bool) -> None:
    pond, told = build(PondSocket()), Told()
    handler = told.plain if is_plain else told
    register = pond.on_error() if is_plain else pond.on_error
    assert register(handler) == handler
    with pytest.raises(ConnectionRefused):
        async with connect(pond, "/fails"):
            pass
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join("/fails")
        await ann.join(CHAT)
        assert await failed(ann, "fail", "GATEWAY") == "INTERNAL_SERVER_ERROR"
        assert await failed(ann, "fail") == "INTERNAL_SERVER_ERROR"
        ann.send("BROADCAST", CHAT, "said")
    errors = await told.wait(6)
    seen = {
        (
            str(each.error),
            each.kind,
            type(each.context),
            each.channel_name,
            each.event,
            each.path,
        )
        for each in errors
    }
    gateway = type(next(each.context for each in errors if str(each.error) == "gateway"))
    assert issubclass(gateway, EventContext)
    assert seen == {
        ("connect", "connect", ConnectionContext, "GATEWAY", "CONNECT", "/fails"),
        ("join", "join", JoinContext, "/fails", "JOIN", "/socket"),
        ("gateway", "event", gateway, "GATEWAY", "fail", "/socket"),
        ("event", "event", EventContext, CHAT, "fail", "/socket"),
        ("outgoing", "outgoing", OutgoingContext, CHAT, "said", "/socket"),
        ("leave", "leave", LeaveContext, CHAT, "LEAVE", "/socket"),
    }
    assert {each.user_id for each in errors if each.kind != "connect"} == {"ann"}


async def test_a_pond_error_that_answers_is_no_error() -> None:
    pond, told = build(PondSocket()), Told()
    pond.on_error(told)
    async with connect(pond, "/socket") as ann:
        await ann.join(CHAT)
        assert await failed(ann, "refuse") == "CHANNEL_ERROR"
        assert await failed(ann, "unknown") == "HANDLER_NOT_FOUND"
        assert await failed(ann, "fail") == "INTERNAL_SERVER_ERROR"
    assert [str(each.error) for each in await told.wait(2)] == ["event", "leave"]


async def test_the_answer_does_not_wait_for_it() -> None:
    pond, begun, end = build(PondSocket()), anyio.Event(), anyio.Event()

    @pond.on_error
    async def slow(ctx: ErrorContext) -> None:
        begun.set()
        await end.wait()
        ended.append(ctx.event)

    ended: list[str] = []
    async with pond:
        async with connect(pond, "/socket") as ann:
            await ann.join(CHAT)
            await failed(ann, "fail")
            assert await failed(ann, "fail") == "INTERNAL_SERVER_ERROR"
            with anyio.fail_after(5):
                await begun.wait()
            assert ended == []
        end.set()
    assert sorted(ended) == ["LEAVE", "fail", "fail"]  # the pond has waited for them


async def test_its_own_failure_is_logged_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pond, told = build(PondSocket()), Told()

    @pond.on_error
    async def broken(ctx: ErrorContext) -> None:
        raise SystemExit("broken")

    @pond.on_error
    def forgotten(ctx: ErrorContext) -> Any:
        return told(ctx)

    pond.on_error(told)
    async with pond, connect(pond, "/socket") as ann:
        await ann.join("/fails")
        await told.wait(1)
    logged = {record.getMessage(): str(record.exc_info) for record in error_records(caplog)}
    assert "SystemExit('broken')" in logged["An error handler failed (broken)."]
    assert "must be awaited" in logged["An error handler failed (forgotten)."]
    assert [each.kind for each in told.errors] == ["join"]


async def test_hooks_are_told_of_the_same() -> None:
    class Errors(Hooks):
        def error(self, error: BaseException, channel_name: str, event: str, user_id: str) -> None:
            seen.append((error, channel_name, event, user_id))

    seen: list[tuple[Any, ...]] = []
    pond, told = build(PondSocket(hooks=Errors())), Told()
    pond.on_error(told)
    async with connect(pond, "/socket") as ann:
        await ann.join(CHAT)
        await failed(ann, "fail")
    errors = await told.wait(2)
    assert seen == [(e.error, e.channel_name, e.event, e.user_id) for e in errors]


async def test_it_is_told_of_what_routers_and_classes_raise() -> None:
    class Board:
        @on_message("board")
        async def board(self) -> None:
            raise LookupError("board")

    router = Router()

    @router.on_message("router")
    async def routed(ctx: EventContext) -> None:
        raise LookupError("router")

    pond, told = PondSocket(), Told()
    router.include(Board())
    pond.create_endpoint("/socket").include(router)
    pond.on_error(told)
    async with connect(pond, "/socket") as ann:
        await failed(ann, "board", "GATEWAY")
        await failed(ann, "router", "GATEWAY")
    assert [str(each.error) for each in await told.wait(2)] == ["board", "router"]


async def test_it_sees_the_variables_of_the_handler() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    pond, seen = PondSocket(), []

    @pond.on_error
    async def note(ctx: ErrorContext) -> None:
        seen.append(request.get())

    endpoint = pond.create_endpoint("/socket")

    @endpoint.on_message("fail")
    async def fail(ctx: EventContext) -> None:
        request.set("from the handler")
        raise LookupError

    async with pond, connect(pond, "/socket") as ann:
        await failed(ann, "fail", "GATEWAY")
    assert seen == ["from the handler"]


async def test_too_many_at_once_are_left_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    pond, end, count = build(PondSocket(options=Options(event_rate=None))), anyio.Event(), []

    @pond.on_error
    async def slow(ctx: ErrorContext) -> None:
        await end.wait()
        count.append(ctx.event)

    async with pond, connect(pond, "/socket") as ann:
        await ann.join(CHAT)
        for _ in range(103):
            await failed(ann, "fail")
        end.set()
    told = [each.getMessage() for each in error_records(caplog) if "too slow" in each.getMessage()]
    assert told == ["Error handlers are too slow: 100 run, and further errors are not told."]
    assert len(count) in (100, 101)


async def test_it_may_close_the_pond() -> None:
    pond = build(PondSocket())

    @pond.on_error
    async def close(ctx: ErrorContext) -> None:
        await pond.close()

    async with connect(pond, "/socket") as ann:
        await ann.join("/fails")
        assert await ann.wait_closed() == 1001


async def test_what_else_fails_in_a_connection_is_told_as_a_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no descriptor left")

    pond, told = build(PondSocket()), Told()
    pond.on_error(told)
    broken, log = Broken(), logging.getLogger("pondsocket.events")
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(CHAT)
        log.addHandler(broken)
        try:
            ann.send("BROADCAST", CHAT, "fail")
            await ann.wait_closed()
        finally:
            log.removeHandler(broken)
    error = (await told.wait(2))[0]
    assert (error.kind, error.event, error.user_id, error.context) == ("task", "TASK", "ann", None)
    assert isinstance(error.error, OSError)
    assert "A connection failed" in caplog.text


def test_a_function_that_cannot_be_called_is_refused() -> None:
    class Reports:
        async def report(self, ctx: ErrorContext) -> None: ...

    pond = PondSocket()
    for handler, text in (
        (lambda: None, "is called with (ctx)"),
        (lambda ctx, error: None, "is called with (ctx)"),
        (None, "a function (ctx) is needed"),
        (Reports.report, "`Reports(…).report`"),
    ):
        with pytest.raises(UsageError) as raised:
            pond.on_error(handler)  # type: ignore[type-var]
        assert text in str(raised.value)
