"""What is known of a coroutine function before it is called."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, ConnectRequest, Options, PondSocket
from pondsocket._runtime.functions import may_wait
from pondsocket_common import Headers, QueryParams


async def numbers() -> AsyncIterator[int]:
    yield 1


async def accepts(ctx: ConnectionContext) -> None:
    ctx.accept(names=[name.lower() for name in ctx.headers], of=lambda: (yield))


async def asks(ctx: ConnectionContext) -> None:
    await anyio.lowlevel.checkpoint()
    ctx.accept()


async def asks_at_times(ctx: ConnectionContext) -> None:
    if not ctx.headers:
        await anyio.sleep(60)
    ctx.accept()


async def opens(ctx: ConnectionContext) -> None:
    async with anyio.Lock():
        ctx.accept()


async def iterates(ctx: ConnectionContext) -> None:
    async for _ in numbers():
        ctx.accept()


async def comprehends(ctx: ConnectionContext) -> None:
    ctx.accept(numbers=[number async for number in numbers()])


class Admits:
    """A class whose methods are handlers, and whose instances are, too."""

    async def at_once(self, ctx: ConnectionContext) -> None:
        ctx.accept()

    async def later(self, ctx: ConnectionContext) -> None:
        await anyio.lowlevel.checkpoint()
        ctx.accept()

    async def __call__(self, ctx: ConnectionContext) -> None:
        ctx.accept()


@wraps(accepts)
def waits_before(ctx: ConnectionContext) -> Awaitable[None]:
    return anyio.sleep(60)


@wraps(accepts)
async def logged(ctx: ConnectionContext) -> None:
    await anyio.sleep(60)


@pytest.mark.parametrize("function", [accepts, Admits().at_once, partial(accepts)])
def test_of_code_that_awaits_nothing_it_is_known_that_it_does_not_wait(
    function: Callable[..., Any],
) -> None:
    assert not may_wait(function)


@pytest.mark.parametrize(
    "function",
    [
        asks,
        asks_at_times,
        opens,
        iterates,
        comprehends,
        Admits().later,
        Admits(),
        partial(asks),
        waits_before,
        logged,
        print,
        numbers,
    ],
)
def test_of_all_else_it_is_not(function: Callable[..., Any]) -> None:
    assert may_wait(function)


@pytest.mark.parametrize("handler", [logged, asks_at_times])
async def test_a_handler_that_may_wait_has_a_time_limit_whatever_it_seems_to_be(
    handler: Callable[..., Any],
) -> None:
    pond = PondSocket(options=Options(connect_timeout=0.01))
    pond.create_endpoint("/socket", handler)
    request = ConnectRequest("/socket", Headers(), QueryParams(), None, "websocket")
    with anyio.fail_after(5):
        refusal = await pond.connect(request)
    assert getattr(refusal, "status", None) == 504


async def test_what_a_handler_raises_that_cannot_wait_is_answered_as_ever() -> None:
    async def fails(ctx: ConnectionContext) -> None:
        raise ZeroDivisionError

    assert not may_wait(fails)
    pond = PondSocket()
    pond.create_endpoint("/socket", fails)
    request = ConnectRequest("/socket", Headers(), QueryParams(), None, "websocket")
    assert getattr(await pond.connect(request), "status", None) == 500
