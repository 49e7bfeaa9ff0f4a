"""What is checked at registration, and how middleware is put together."""

from functools import partial
from typing import Any

import anyio.lowlevel
import pytest
from pondsocket import EventContext, Next, PondSocket, UsageError

from tests.core.members import member, say, settled
from tests.core.ponds import accept_join, admit, build, relay


async def handler(ctx: object) -> None: ...


class Step:
    """Middleware as an object."""

    def __init__(self, order: list[str], name: str, goes_on: bool = True) -> None:
        self.order = order
        self.name = name
        self.goes_on = goes_on

    async def __call__(self, ctx: EventContext, next: Next) -> None:  # noqa: A002
        self.order.append(f"before {self.name}")
        if self.goes_on:
            await next()
        self.order.append(f"after {self.name}")


async def handled_with(stops_at: str) -> list[str]:
    order: list[str] = []

    async def note(ctx: EventContext) -> None:
        await anyio.lowlevel.checkpoint()
        order.append("handler")

    setup = build()
    steps = [Step(order, name, goes_on=name != stops_at) for name in ("1", "2", "3")]
    setup.lobby.on_message("go", note, *steps)
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        await settled()
    return order


async def test_the_first_middleware_is_outermost() -> None:
    assert await handled_with(stops_at="none") == [
        *("before 1", "before 2", "before 3"),
        "handler",
        *("after 3", "after 2", "after 1"),
    ]


async def test_not_going_on_stops_the_chain() -> None:
    assert await handled_with(stops_at="2") == ["before 1", "before 2", "after 2", "after 1"]


class Handlers:
    async def __call__(self, ctx: object) -> None: ...

    async def method(self, ctx: object) -> None: ...


async def with_default(ctx: object, more: int = 1) -> None: ...


async def with_more(more: int, ctx: object) -> None: ...


async def keyword(*, ctx: object) -> None: ...


def plain(ctx: object) -> None: ...


async def nothing() -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        *(handler, Handlers(), Handlers().method, with_default, partial(with_more, 1)),
        *(keyword, plain, nothing),
    ],
)
async def test_whatever_can_be_called_may_be_a_handler(
    function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    setup = build()
    setup.lobby.on_message("go", function)
    async with member(setup, "ann") as ann:
        request_id = say(ann, "", event="go")
        say(ann, "then", event="say")
        # Its lane goes on, and no client was told of an error.
        assert (await ann.receive_event("say")).request_id != request_id
        await settled()
        assert not ann.unread
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def two(ctx: object, other) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (two, "where does 'other' come from"),
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
    lobby = endpoint.create_channel("/room/:id", accept_join)
    attempts: dict[str, Any] = {
        "endpoint": (lambda: pond.create_endpoint("/x", function), "endpoint '/x'"),
        "channel": (lambda: endpoint.create_channel("/x", function), "channel '/x'"),
        "message": (lambda: lobby.on_message("x", function), "channel '/room/:id', event 'x'"),
        "leave": (lambda: lobby.on_leave(function), "channel '/room/:id', leave"),
    }
    attempt, named = attempts[where]
    if where in ("message", "leave") and function is None:
        return  # without a handler, both are decorators

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
    setup = build()

    async def on_leave(ctx: object) -> None: ...

    attempts: dict[str, Any] = {
        "endpoint": lambda: setup.pond.create_endpoint("/x", admit, step),
        "use": lambda: setup.endpoint.use(step),
        "channel": lambda: setup.endpoint.create_channel("/x", accept_join, step),
        "message": lambda: setup.lobby.on_message("x", relay, step),
        "leave": lambda: setup.lobby.on_leave(on_leave, step),
    }

    with pytest.raises(UsageError, match=words):
        attempts[where]()


@pytest.mark.parametrize("pattern", ["", "/:", "/*/x", "/:a:b"])
@pytest.mark.parametrize("where", ["endpoint", "channel", "message", "outgoing"])
def test_a_wrong_pattern_fails_at_registration(pattern: str, where: str) -> None:
    setup = build()

    async def on_message(ctx: object) -> None: ...

    attempts: dict[str, Any] = {
        "endpoint": lambda: setup.pond.create_endpoint(pattern, admit),
        "channel": lambda: setup.endpoint.create_channel(pattern, accept_join),
        "message": lambda: setup.lobby.on_message(pattern, on_message),
        "outgoing": lambda: setup.lobby.on_outgoing(pattern, lambda ctx: None),
    }

    with pytest.raises(UsageError):
        attempts[where]()


async def test_a_function_that_hides_its_signature_is_taken_at_its_word() -> None:
    called: list[object] = []

    class Hidden:
        __signature__ = "none"

        async def __call__(self, ctx: object) -> None:
            called.append(ctx)

    setup = build()
    setup.lobby.on_message("go", Hidden())
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        await settled()
    assert len(called) == 1
