"""`await` where it is not needed, and no `await` where it is: it works, or it is told."""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import anyio
import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    Handler,
    JoinContext,
    LeaveContext,
    Middleware,
    Next,
    OutgoingContext,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Connected, Fault, Refused

from tests.core.members import events, member, say, settled
from tests.core.ponds import ROOM, accept_join, build, error_records, relay

# --- connection handlers ----------------------------------------------------------------------


async def awaited(ctx: ConnectionContext) -> None:
    await ctx.set_assign("a", 1)
    await ctx.set_assigns(b=2)
    await ctx.reply("hello", {"b": ctx.get_assign("b")})
    await ctx.accept(user_id="ann")


def plain(ctx: ConnectionContext) -> object:
    ctx.reply("hello", {"b": 2})
    return ctx.accept(user_id="ann")


@pytest.mark.parametrize(
    "handler", [awaited, plain, lambda ctx: (ctx.reply("hello", {"b": 2}), ctx.accept())[1]]
)
async def test_a_connection_handler_may_await_what_does_not_wait(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(build(connect=handler).pond, "/socket") as ann:
        assert isinstance((await ann.receive()).payload, Connected)
        assert (await ann.receive()).payload == {"b": 2}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_connection_handler_may_await_decline() -> None:
    async def decline(ctx: ConnectionContext) -> None:
        await ctx.decline(404, "no")

    with pytest.raises(ConnectionRefused, match="404 UNAUTHORIZED_CONNECTION: no"):
        async with connect(build(connect=decline).pond, "/socket"):
            pass


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("method", ["accept", "decline"])
async def test_a_join_handler_that_forgets_await_is_told(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def join(ctx: JoinContext) -> None:
        getattr(ctx, method)()

    async with connect(build(join).pond, "/socket") as ann:
        answer = await ann.join(ROOM)
    assert isinstance(answer.payload, Refused)
    assert answer.payload.code == 401
    assert "Without `await`, `ctx.accept()`" in caplog.text


# --- `next()` ---------------------------------------------------------------------------------


async def twice(ctx: object, next: Next) -> None:  # noqa: A002
    await next()
    await next()


async def returned_again(ctx: object, next: Next) -> object:  # noqa: A002
    await next()
    return await next()


async def together(ctx: object, next: Any) -> None:  # noqa: A002
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(next)
        tasks.start_soon(next)


async def unawaited(ctx: object, next: Next) -> None:  # noqa: A002
    next()


async def handed_on(ctx: object, next: Next) -> object:  # noqa: A002
    return next()


WRONG: dict[str, tuple[Middleware[Any], int, str]] = {
    "twice": (twice, 1, r"twice has called `next\(\)` twice"),
    "returned": (returned_again, 1, r"returned_again has called `next\(\)` twice"),
    "together": (together, -1, r"together has called `next\(\)` twice"),
    "not awaited": (unawaited, 0, r"unawaited has called `next\(\)` without `await`"),
    "handed on": (handed_on, 0, r"write `await next\(\)`"),
}


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(("middleware", "times", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("kind", ["event", "join", "connection", "leave"])
async def test_a_handler_runs_once_and_is_awaited(
    kind: str,
    middleware: Middleware[Any],
    times: int,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[str] = []

    async def handler(ctx: Any) -> None:
        ran.append(kind)
        if kind in ("join", "connection"):
            await ctx.accept()

    async def leave(ctx: LeaveContext) -> None:
        ran.append("leave")

    setup = build()
    if kind == "connection":
        setup.pond.create_endpoint("/other", handler, middleware)
        with pytest.raises(ConnectionRefused, match="500"):
            async with connect(setup.pond, "/other"):
                pass
    else:
        setup.endpoint.create_channel(
            "/join",
            handler if kind == "join" else accept_join,
            *([middleware] if kind == "join" else []),
        )
        if kind == "event":
            setup.lobby.on_message("go", handler, middleware)
        if kind == "leave":
            setup.lobby.on_leave(leave, middleware)
        async with member(setup, "ann") as ann:
            if kind == "join":
                await ann.join("/join")
            if kind == "event":
                answer = await ann.answer(say(ann, "", event="go"))
                assert isinstance(answer.payload, Fault)
        await settled()
    assert len(ran) == times or times < 0
    (record,) = error_records(caplog)
    assert record.exc_info is not None
    with pytest.raises(BaseException, match=words):
        raise _first(record.exc_info[1])


def _first(error: BaseException | None) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    return error


@pytest.mark.parametrize("waits", [False, True])
async def test_an_outgoing_handler_runs_once(waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    def handler(ctx: OutgoingContext) -> None:
        ran.append(ctx.get_event())

    def plainly(ctx: OutgoingContext, next: Callable[[], Any]) -> None:  # noqa: A002
        next()
        next()

    async def waiting(ctx: OutgoingContext, next: Callable[[], Awaitable[Any]]) -> None:  # noqa: A002
        await next()
        await next()

    setup = build()
    setup.lobby.on_outgoing("say", handler, waiting if waits else plainly)
    async with member(setup, "ann") as ann:
        say(ann, "")
        await settled()
        assert (events(ann), ran) == ([], ["say"])
    assert "has called `next()` twice" in caplog.text


async def test_middleware_may_call_next_again_for_the_next_message() -> None:
    seen: list[str] = []

    async def once(ctx: EventContext, next: Next) -> object:  # noqa: A002
        seen.append(ctx.event_name)
        return await next()

    setup = build()
    setup.lobby.on_message("go", relay, once)
    async with member(setup, "ann") as ann:
        for _ in range(2):
            say(ann, "", event="go")
        await settled()
        assert (events(ann), seen) == (["go", "go"], ["go", "go"])


# --- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [{"why": "full"}, None, 7, ["no"], b"no"], ids=repr)
async def test_a_reason_that_is_no_text_is_refused_and_nothing_is_half_done(
    text: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def admit(ctx: ConnectionContext) -> None:
        ctx.decline(403, text) if ctx.query.get("user") == "eve" else ctx.accept(user_id="ann")

    async def join(ctx: JoinContext) -> None:
        if ctx.join_params:
            await ctx.decline(403, text)
        await ctx.accept()

    async def go(ctx: EventContext) -> None:
        await ctx.evict(text)

    setup = build(join, connect=admit)
    setup.lobby.on_message("go", go)
    # A connection's message always was made a text: of a number, of an exception.
    is_refused = isinstance(text, Collection)
    with pytest.raises(ConnectionRefused, match="500" if is_refused else f"403 .*: {text}"):
        async with connect(setup.pond, "/socket?user=eve"):
            pass
    async with member(setup, "ann") as ann:
        answer = await ann.join(ROOM, {"a": 1})
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 500
        await ann.join(ROOM)
        ann.drain()
        answer = await ann.answer(say(ann, "", event="go"))
        assert isinstance(answer.payload, Fault)
        with pytest.raises(Exception, match="the reason is a text"):
            await setup.pond.disconnect(user_id="ann", reason=text)
        with pytest.raises(Exception, match="the reason is a text"):
            await setup.pond.channel("/socket", ROOM).evict_user("ann", text)
        say(ann, "still here")
        assert (await ann.receive()).payload == {"text": "still here"}
    assert len(error_records(caplog)) == 2 + is_refused
