"""What the log says of middlewares that turn the fast lane off."""

import asyncio
import logging
from functools import partial
from typing import Any

import pytest
from pondsocket_asgi._process.servers import runs_uvicorn
from pondsocket_asgi._sending import sending_log
from pondsocket_asgi.testing import ASGITestDriver
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from tests.asgi.conftest import Pond
from tests.asgi.known_middlewares import AROUND
from tests.asgi.uvicorn_connection import ALL, Kind, UvicornConnection, turns


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: uvicorn knows no other."""
    return "asyncio"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what gives the lines so far; uvicorn seems to run."""
    monkeypatch.setattr(sending_log, "runs_uvicorn", lambda: True)
    caplog.set_level(logging.INFO, "pondsocket.asgi.transport")
    return lambda: [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]


class Timing:
    """A middleware of an application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def timed(message: Any) -> None:
            await send(message)

        await self.app(scope, receive, timed)


class Sender:
    """A `send` that is an object."""

    def __init__(self, send: Any) -> None:
        self.send = send

    async def __call__(self, message: Any) -> None:
        await self.send(message)


async def visit(app: Any, *, sockets: int = 0, streams: int = 0) -> None:
    """Connect to an app, and leave."""
    driver = ASGITestDriver(app)
    for _ in range(sockets):
        await (await driver.connect_websocket("/socket")).disconnect()
    for _ in range(streams):
        await (await driver.connect_sse("/socket")).disconnect()


async def test_a_foreign_middleware_is_named_once_for_each_app_and_transport(
    pond: Pond, lines: Any
) -> None:
    await visit(Timing(pond.app), sockets=3)
    (line,) = lines()
    assert line == (
        "tests.asgi.test_sending_log.Timing replaces `send`, and may need every message of a "
        "WebSocket. So no caller writes at once: behind it a task writes the frames of each "
        "connection, which takes two to seven times as long. If it needs none of them, let it "
        'give the app the `send` that it was given where scope["type"] is "websocket", or mount '
        "the pond outside of it."
    )
    await visit(Timing(pond.app), streams=3, sockets=1)
    assert [('"http"' in each, "of a stream" in each) for each in lines()[1:]] == [(True, True)]
    await visit(Timing(Pond().app), sockets=1)
    assert len(lines()) == 3


async def test_known_middlewares_are_not_named(pond: Pond, lines: Any) -> None:
    for name in ("session", "cors", "gzip", "authentication", "correlation id", "sentry"):
        await visit(AROUND[name](pond.app), sockets=1, streams=1)
    assert lines() == []


async def test_each_kind_of_wrapper_is_named(pond: Pond, lines: Any) -> None:
    async def alone(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    async def as_object(scope: Any, receive: Any, send: Any) -> None:
        await pond.app(scope, receive, Sender(send))

    async def as_partial(scope: Any, receive: Any, send: Any) -> None:
        await pond.app(scope, receive, partial(Sender(send).__call__))

    app = BaseHTTPMiddleware(pond.app, alone)
    await visit(app, sockets=1, streams=1)
    await visit(GZipMiddleware(pond.app, exclude_content_types=()), streams=1)
    await visit(as_object, sockets=1)
    await visit(as_partial, streams=1)
    names = [line.partition(" replaces `send`") for line in lines()]
    assert [name for name, _, _ in names] == [
        "starlette.middleware.base.BaseHTTPMiddleware",
        "starlette.middleware.gzip.IdentityResponder",
        "tests.asgi.test_sending_log.Sender",
        "tests.asgi.test_sending_log.Sender",
    ]
    # It is in the list, but leaves no event stream alone here.
    assert ["in another way" in rest for _, _, rest in names] == [False, True, False, False]


async def test_where_uvicorn_does_not_run_nothing_is_named(
    pond: Pond, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_log, "runs_uvicorn", lambda: False)
    await visit(Timing(pond.app), sockets=2, streams=2)
    assert lines() == []


async def test_an_app_whose_middlewares_have_ever_new_names_fills_no_log(
    pond: Pond, lines: Any
) -> None:
    for number in range(120):
        again = type(f"Sender{number}", (Sender,), {})

        async def app(scope: Any, receive: Any, send: Any, again: Any = again) -> None:
            await pond.app(scope, receive, again(send))

        await visit(app, sockets=1)
    assert len(lines()) == 100


@pytest.mark.parametrize("kind", ALL)
async def test_uvicorn_is_found_also_from_another_task(kind: Kind) -> None:
    assert not runs_uvicorn()
    connection = await UvicornConnection(kind=kind).open()
    found: list[bool] = []

    async def look() -> None:
        found.append(runs_uvicorn())

    await asyncio.create_task(look())
    assert found == [True]
    connection.transport.close()
    await turns()
    assert not runs_uvicorn()


def test_without_a_loop_uvicorn_does_not_run() -> None:
    assert not runs_uvicorn()
