"""What is checked at registration, and how middleware is put together."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

import anyio.lowlevel
import pytest
from pondsocket import Next, PondSocket, UsageError
from pondsocket._handlers import compose, is_async

from tests.core.ponds import admit, build, let_in, relay


async def handler(ctx: list[str]) -> str:
    ctx.append("handler")
    await anyio.lowlevel.checkpoint()
    return "outcome"


class Step:
    """Middleware as an object."""

    def __init__(self, name: str, goes_on: bool = True) -> None:
        self.name = name
        self.goes_on = goes_on

    async def __call__(self, ctx: list[str], next: Next) -> object:  # noqa: A002
        ctx.append(f"before {self.name}")
        outcome = await next() if self.goes_on else None
        ctx.append(f"after {self.name}")
        return outcome


async def test_the_first_middleware_is_outermost() -> None:
    order: list[str] = []
    composed = compose("here", handler, [Step("1"), Step("2")])

    assert await composed(order) == "outcome"
    assert order == ["before 1", "before 2", "handler", "after 2", "after 1"]


async def test_not_going_on_stops_the_chain() -> None:
    order: list[str] = []
    composed = compose("here", handler, [Step("1"), Step("2", goes_on=False), Step("3")])

    assert await composed(order) is None
    assert order == ["before 1", "before 2", "after 2", "after 1"]


async def test_without_middleware_the_handler_is_the_chain() -> None:
    assert compose("here", handler) is handler


class Handlers:
    async def __call__(self, ctx: object) -> None: ...

    async def method(self, ctx: object) -> None: ...


async def with_default(ctx: object, more: int = 1) -> None: ...


async def with_more(more: int, ctx: object) -> None: ...


@pytest.mark.parametrize(
    "function",
    [handler, Handlers(), Handlers().method, with_default, partial(with_more, 1)],
)
def test_whatever_is_called_and_awaited_may_be_a_handler(function: Any) -> None:
    assert is_async(function)
    assert compose("here", function) is function


def plain(ctx: object) -> None: ...


def returning(ctx: object) -> Awaitable[None]:
    raise NotImplementedError


async def nothing() -> None: ...


async def two(ctx: object, other: object) -> None: ...


async def keyword(*, ctx: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (plain, r"write `async def plain\(ctx\)`; it is a plain function"),
        (returning, r"write `async def returning\(ctx\)`"),
        (nothing, r"a handler is called with \(ctx\), but nothing takes \(\)"),
        (two, r"a handler is called with \(ctx\), but two takes \(ctx: object, other: object\)"),
        (keyword, r"a handler is called with \(ctx\)"),
        ("not a function", r"a function \(ctx\) is needed, not 'not a function'"),
        (None, r"a function \(ctx\) is needed"),
    ],
)
@pytest.mark.parametrize("where", ["endpoint", "channel", "message", "leave"])
def test_a_wrong_handler_fails_at_registration_with_what_to_write(
    function: Any, words: str, where: str
) -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", let_in)
    attempts: dict[str, Any] = {
        "endpoint": (lambda: pond.create_endpoint("/x", function), "endpoint '/x'"),
        "channel": (lambda: endpoint.create_channel("/x", function), "channel '/x'"),
        "message": (lambda: lobby.on_message("x", function), "channel '/room/:id', event 'x'"),
        "leave": (lambda: lobby.on_leave(function), "channel '/room/:id', leave"),
    }
    attempt, named = attempts[where]

    with pytest.raises(UsageError, match=words) as failure:
        attempt()
    assert str(failure.value).startswith(named)


def plain_step(ctx: object, next: Next) -> None: ...  # noqa: A002


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (plain_step, r"write `async def plain_step\(ctx, next\)`"),
        (handler, r"middleware is called with \(ctx, next\), but handler takes"),
        (7, r"a function \(ctx, next\) is needed, not 7"),
    ],
)
@pytest.mark.parametrize("where", ["endpoint", "use", "channel", "message", "leave"])
def test_wrong_middleware_fails_at_registration_with_what_to_write(
    step: Any, words: str, where: str
) -> None:
    house = build()

    async def on_leave(ctx: object) -> None: ...

    attempts: dict[str, Any] = {
        "endpoint": lambda: house.pond.create_endpoint("/x", admit, step),
        "use": lambda: house.endpoint.use(step),
        "channel": lambda: house.endpoint.create_channel("/x", let_in, step),
        "message": lambda: house.lobby.on_message("x", relay, step),
        "leave": lambda: house.lobby.on_leave(on_leave, step),
    }

    with pytest.raises(UsageError, match=words):
        attempts[where]()


@pytest.mark.parametrize("pattern", ["", "/:", "/*/x", "/:a:b"])
@pytest.mark.parametrize("where", ["endpoint", "channel", "message", "outgoing"])
def test_a_wrong_pattern_fails_at_registration(pattern: str, where: str) -> None:
    house = build()

    async def on_message(ctx: object) -> None: ...

    attempts: dict[str, Any] = {
        "endpoint": lambda: house.pond.create_endpoint(pattern, admit),
        "channel": lambda: house.endpoint.create_channel(pattern, let_in),
        "message": lambda: house.lobby.on_message(pattern, on_message),
        "outgoing": lambda: house.lobby.on_outgoing(pattern, lambda ctx: None),
    }

    with pytest.raises(UsageError):
        attempts[where]()


def test_a_function_that_hides_its_signature_is_taken_at_its_word() -> None:
    class Hidden:
        __signature__ = "none"

        async def __call__(self, ctx: object) -> None: ...

    hidden = Hidden()
    assert compose("here", hidden) is hidden
