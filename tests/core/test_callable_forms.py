"""Handlers and dependencies in every form that can be called."""

# ruff: noqa: A002, A006

import functools
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    Depends,
    EventContext,
    LeaveContext,
    Next,
    Options,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import Acknowledged, Refused

from tests.core.members import member
from tests.core.ponds import ROOM, admit, build, logged_error

Handler = Callable[..., Any]


@pytest.fixture(autouse=True)
def never_awaited() -> Iterator[None]:
    """Fail if a coroutine was dropped without being awaited."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [each for each in caught if "never awaited" in str(each.message)] == []


def plainly_wrapped(function: Handler) -> Handler:
    """Wrap as many decorators do that measure or log."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def typed(ctx: EventContext) -> str:
    await anyio.lowlevel.checkpoint()
    return ctx.event_name


async def untyped(ctx: Any) -> str:
    await anyio.lowlevel.checkpoint()
    name: str = ctx.event_name
    return name


async def with_more(more: str, ctx: EventContext) -> str:
    return more


def plain(size: int = 1) -> str:
    return "go"


class Handlers:
    async def bound(self, ctx: EventContext, size: int = 1) -> str:
        return "go"

    @classmethod
    async def of_class(cls, ctx: EventContext) -> str:
        return "go"

    @staticmethod
    async def static(ctx: EventContext) -> str:
        return "go"

    async def __call__(self, ctx: EventContext) -> str:
        return "go"


class PlainCall:
    def __call__(self, ctx: Any) -> Coroutine[Any, Any, str]:
        return untyped(ctx)


ANSWERED: Final[dict[str, Handler]] = {
    "async def": typed,
    "def": plain,
    "bound method": Handlers().bound,
    "class method": Handlers.of_class,
    "static method": Handlers.static,
    "static method, as it is in its class": Handlers.__dict__["static"],
    "object": Handlers(),
    "object whose call returns a coroutine": PlainCall(),
    "partial": functools.partial(with_more, "go"),
    "partial of a partial": functools.partial(functools.partial(with_more), "go"),
    "partial of a bound method": functools.partial(Handlers().bound, size=2),
    "plain wrapper": plainly_wrapped(untyped),
    "plain wrapper of a partial": functools.partial(plainly_wrapped(untyped)),
    "lambda that returns a coroutine": lambda ctx: untyped(ctx),
    "lambda without a parameter": lambda: untyped_alone(),
}


async def untyped_alone() -> str:
    return "go"


@pytest.mark.parametrize("form", ANSWERED)
async def test_every_form_of_handler_is_awaited(form: str) -> None:
    setup = build()
    setup.lobby.on_message("go", ANSWERED[form])
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.payload == {"result": "go"}


def yields(ctx: EventContext) -> Iterator[int]:
    yield 1


async def yields_too(ctx: EventContext) -> AsyncIterator[int]:
    yield 1


REFUSED: Final[dict[str, tuple[Handler, str]]] = {
    "plain wrapper of a typed handler": (plainly_wrapped(typed), "write `async def`"),
    "generator": (yields, "it has a `yield`"),
    "async generator": (yields_too, "it has a `yield`"),
    "class method, as it is in its class": (Handlers.__dict__["of_class"], "is needed"),
    "coroutine": (untyped_alone, "is needed"),
    "C function without a context": (divmod, "where does"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_called_is_refused_at_registration(form: str) -> None:
    handler, text = REFUSED[form]
    rest: Any = untyped_alone() if form == "coroutine" else None
    try:
        with pytest.raises(UsageError, match=text):
            build().lobby.on_message("go", rest or handler)
    finally:
        if rest is not None:
            rest.close()


def test_middleware_that_is_a_lambda_is_refused() -> None:
    async def passes(ctx: EventContext, next: Next) -> None:
        await next()

    with pytest.raises(UsageError, match="write `async def"):
        build().lobby.on_message("go", typed, lambda ctx, next: passes(ctx, next))


@pytest.mark.parametrize("beside", [None, untyped_alone, plain])
async def test_a_dependency_may_return_a_coroutine(beside: Handler | None) -> None:
    def handler(text: str = Depends(lambda: untyped_alone())) -> str:
        return text

    async def handler_beside(
        text: str = Depends(lambda: untyped_alone()), more: str = Depends(beside or plain)
    ) -> str:
        return text

    setup = build()
    setup.lobby.on_message("go", handler if beside is None else handler_beside)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.payload == {"result": "go"}


async def test_clean_up_of_dependencies_comes_after_a_returned_coroutine() -> None:
    log: list[str] = []

    def opened() -> Iterator[str]:
        yield "open"
        log.append("closed")

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("worked")

    def go(of_loop: str = Depends(untyped_alone), opened: str = Depends(opened)) -> Any:
        return work()

    setup = build()
    setup.lobby.on_message("go", go)
    setup.lobby.on_message("look", lambda: log)
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "go")
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "look"))
        assert answer.payload == {"result": ["worked", "closed"]}


async def test_a_returned_coroutine_keeps_no_generator_waiting_for_a_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []

    def opened() -> Iterator[str]:
        try:
            yield "open"
        finally:
            log.append("closed")

    setup = build()
    setup.lobby.on_message("go", lambda opened=Depends(opened): untyped_alone())
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.event == "INTERNAL_SERVER_ERROR"
    assert log == ["closed"]
    logged_error(caplog)
    assert "or the decorator around it, as `async def`" in caplog.text


async def test_handlers_of_the_other_kinds_are_awaited_likewise() -> None:
    left: list[str] = []

    async def join(ctx: Any) -> str:
        await anyio.lowlevel.checkpoint()
        return "welcome"

    async def leave(ctx: LeaveContext) -> None:
        await anyio.lowlevel.checkpoint()
        left.append(ctx.user.id)

    setup = build(lambda ctx: join(ctx), connect=lambda ctx: admit(ctx))
    setup.lobby.on_leave(functools.partial(leave))
    async with connect(setup.pond, "/socket?user=ann") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Acknowledged)
        assert answer.payload.response == "welcome"
    assert left == ["ann"]


async def test_a_failure_of_a_returned_coroutine_is_the_handlers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError

    setup = build()
    setup.lobby.on_message("go", lambda: fail())
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.event == "INTERNAL_SERVER_ERROR"
    assert "An event handler failed" in logged_error(caplog)


async def test_a_blocking_context_in_a_coroutine_says_what_to_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def replies(ctx: Any) -> None:
        ctx.reply("never")

    setup = build()
    setup.lobby.on_message("go", lambda ctx: replies(ctx))
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "go"))
        assert answer.event == "INTERNAL_SERVER_ERROR"
    logged_error(caplog)
    assert "`ctx.reply(…)` of a plain function blocks" in caplog.text


async def test_a_join_that_takes_too_long_ends_its_returned_coroutine() -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def hang() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    setup = build(lambda ctx: hang())
    async with connect(setup.pond, "/socket?user=ann") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        with anyio.fail_after(2):
            await began.wait()
            ann.vanish()
            await ended.wait()


async def test_a_coroutine_that_comes_too_late_is_closed() -> None:
    gone = threading.Event()
    returned: list[Coroutine[Any, Any, str]] = []

    def late(ctx: Any) -> Coroutine[Any, Any, str]:
        gone.wait(5)
        returned.append(untyped_alone())
        return returned[0]

    setup = build(late, options=Options(join_timeout=0.3))  # the thread has begun by then
    async with connect(setup.pond, "/socket?user=ann") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 408
        gone.set()
        with anyio.fail_after(2):
            while not returned or returned[0].cr_frame is not None:  # type: ignore[attr-defined]
                await anyio.wait_all_tasks_blocked()
