"""A `send` of HTTP/2 that waits for the client, under hypercorn, whose own does not."""

import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from hypercorn.protocol.h2 import StreamBuffer
from pondsocket_asgi._process.servers import HypercornStream
from pondsocket_asgi._scope import Message, Send
from pondsocket_asgi._transport import http2
from pondsocket_asgi._transport.http2 import waiting_send

from tests.asgi.asgi_connections import ASGIConnection, PondSetup
from tests.asgi.test_servers import called_by_hypercorn

SCOPE = {"type": "http", "http_version": "2"}
KIB = 1_024


class Event:
    """An event as hypercorn has it, on both libraries."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    async def set(self) -> None:
        self._event.set()

    async def clear(self) -> None:
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def is_set(self) -> bool:
        return self._event.is_set()


class Protocol:
    """hypercorn's connection of HTTP/2, whose clients take only what a test has them take."""

    def __init__(self) -> None:
        self.buffer = StreamBuffer(Event)
        self.stream_buffers = {1: self.buffer}

    async def stream_send(self, data: bytes) -> None:
        self.buffer.buffer.extend(data)
        await self.buffer._is_empty.clear()


class Stream:
    """hypercorn's stream; `app_send` is the app's `send`."""

    def __init__(self) -> None:
        self.stream_id = 1
        self.protocol = Protocol()
        self.send = self.protocol.stream_send

    async def app_send(self, message: Message) -> None:
        await self.send(message["body"])

    @property
    def held(self) -> int:
        return len(self.protocol.buffer.buffer)


def wrapped(stream: Any, scope: Any = SCOPE) -> Send:
    """Return what the adapter sends with, called as hypercorn calls it."""
    return called_by_hypercorn(lambda: waiting_send(scope, stream.app_send), send=stream.app_send)


async def test_a_send_waits_for_a_client_that_is_far_behind() -> None:
    stream = Stream()
    send = wrapped(stream)
    sent = 0

    async def write() -> None:
        nonlocal sent
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * KIB})
            sent += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for round_ in range(3):
            await wait_all_tasks_blocked()
            assert stream.held == 32 * KIB
            assert sent == 32 * (round_ + 1) - 1
            await stream.protocol.buffer.pop(32 * KIB)
    assert sent == 100


async def test_a_send_that_waits_ends_with_its_stream() -> None:
    stream = Stream()
    send = wrapped(stream)
    async with anyio.create_task_group() as tasks:

        async def write() -> None:
            await send({"type": "http.response.body", "body": b"x" * 64 * KIB})

        tasks.start_soon(write)
        await wait_all_tasks_blocked()
        await stream.protocol.buffer.close()
    del stream.protocol.stream_buffers[1]
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """What is logged, by an app that has logged nothing before."""
    monkeypatch.setattr(http2, "_told", set())
    caplog.set_level(logging.WARNING)
    return caplog


def without(name: str) -> Stream:
    stream = Stream()
    delattr(stream.protocol if hasattr(stream.protocol, name) else stream, name)
    return stream


@pytest.mark.parametrize(
    "make",
    [
        lambda: without("stream_buffers"),
        lambda: without("stream_id"),
        lambda: without("send"),
        lambda: SimpleNamespace(app_send=Stream().app_send, send=None),
    ],
)
def test_the_first_stream_that_is_not_found_is_logged(
    make: Callable[[], Any], logged: pytest.LogCaptureFixture
) -> None:
    stream = make()
    sender: Any = SimpleNamespace(__self__=stream)
    for version in ("2", "2", "3"):
        scope = {"type": "http", "http_version": version}
        assert called_by_hypercorn(partial(waiting_send, scope, sender), send=sender) is sender
    assert len(logged.messages) == 2
    assert "HTTP/2" in logged.messages[0]
    assert "alpn_protocols" in logged.messages[0]
    assert "HTTP/3" in logged.messages[1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_waits_by_itself_is_left_alone(version: str, logged: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    send = wrapped(stream, {"type": "http", "http_version": version})
    assert send.__func__ is Stream.app_send  # type: ignore[attr-defined]
    assert not logged.messages


def test_a_stream_of_another_shape_is_not_taken_for_one() -> None:
    stream: Any = Stream()
    stream.protocol.stream_buffers[1] = SimpleNamespace(buffer=[])
    assert called_by_hypercorn(HypercornStream.find, send=stream.app_send) is None


async def test_a_stream_that_is_not_read_is_a_slow_consumer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Stream()
    drain = HypercornStream(stream.protocol.stream_buffers, 1)
    monkeypatch.setattr(HypercornStream, "find", lambda: drain)
    setup = PondSetup(outbox_bytes=100_000)
    connection = ASGIConnection(setup, "sse", http_version="2")

    async def take(message: Message) -> None:
        await connection.take(message)
        await stream.send(message.get("body", b""))

    connection.send_with(take)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        while "CONNECTION" not in connection.events():
            await anyio.lowlevel.checkpoint()
        await connection.join()
        for number in range(40):
            await setup.tell(number, size=10_000)
            await wait_all_tasks_blocked()
        assert await setup.users() == 0
        assert stream.held < 150_000
        await stream.protocol.buffer.close()
        connection.leave()
