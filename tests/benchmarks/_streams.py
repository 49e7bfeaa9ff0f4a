"""Clients of event streams: HTTP/1.1 by hand, and only tokens are read of what they receive."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, cast

from tests.benchmarks._client import (
    BenchmarkFailed,
    Crowd,
    fresh_token,
    share_out,
)
from tests.benchmarks._dialects import Dialect

# The most bytes of a token such as `<00000001>` that was cut in two.
_CUT: Final = 9

OnTokens: TypeAlias = Callable[["Stream", bytes], None]


class Stream(asyncio.Protocol):
    """One event stream.

    Args:
        on_fault: Called with the reason why it ended.
    """

    __slots__ = (
        "_dialect", "_is_over", "_on_fault", "_rest", "_transport", "_waiting", "on_tokens",
    )  # fmt: skip

    def __init__(self, dialect: Dialect, on_fault: Callable[[str], None]) -> None:
        self._dialect = dialect
        self._on_fault = on_fault
        self._rest = b""
        self._is_over = False
        self._waiting: tuple[Callable[[bytes], bool], asyncio.Future[bytes]] | None = None
        self._transport: asyncio.Transport
        self.on_tokens: OnTokens = _ignore

    async def until(self, is_it: Callable[[bytes], bool]) -> bytes:
        """Wait until `is_it` is true of the bytes received since `forget`, and return them.

        Raises:
            BenchmarkFailed: The stream ended instead.
        """
        if is_it(self._rest):
            return self._rest
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting = (is_it, future)
        return await future

    def forget(self) -> None:
        """Drop the bytes received so far."""
        self._rest = b""

    def close(self) -> None:
        """Close the stream."""
        self._is_over = True
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request that opens the stream."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._dialect.stream_request())

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a fault: no server has a reason to end a stream."""
        if self._is_over:
            return
        fault = f"a stream was lost ({exc!r}) after {self._rest[-500:]!r}"
        if self._waiting is not None and not self._waiting[1].done():
            self._waiting[1].set_exception(BenchmarkFailed(fault))
        self._on_fault(fault)

    def data_received(self, data: bytes) -> None:
        """Look for tokens; before the stream is a member, keep all bytes."""
        if self._rest:
            data = self._rest + data
        if self.on_tokens is _ignore:
            self._rest = data
            if self._waiting is not None and self._waiting[0](data):
                waiting, self._waiting = self._waiting[1], None
                waiting.set_result(data)
            return
        cut = data.rfind(b"<", -_CUT)
        self._rest = data[cut:] if cut >= 0 else b""
        if cut >= 0:
            data = data[:cut]
        self.on_tokens(self, data)


class Audience:
    """The streams of one server, and the one WebSocket whose broadcasts they receive."""

    def __init__(self) -> None:
        self.speaker = Crowd()
        self.streams: list[Stream] = []

    async def gather(self, port: int, dialect: Dialect, size: int, channel: str) -> None:
        """Connect the speaker, and open `size` streams that are members.

        Raises:
            BenchmarkFailed: The server refused one.
        """
        await self.speaker.connect(port, dialect, 1, channel)
        await share_out(size, lambda numbers: self._open_each(numbers, port, dialect))

    async def _open_each(self, numbers: Iterator[int], port: int, dialect: Dialect) -> None:
        loop = asyncio.get_running_loop()
        for _ in numbers:
            stream = Stream(dialect, self.speaker.fail)
            await loop.create_connection(lambda made=stream: made, "127.0.0.1", port)  # type: ignore[misc]
            head = await stream.until(_has_head)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise BenchmarkFailed(f"a stream was refused: {head!r}")
            # Only the head: `stream` may already hold the first message.
            request = dialect.stream_join(head.partition(b"\r\n\r\n")[0] + b"\r\n", fresh_token())
            if request is not None:
                await _post(port, request)
            await stream.until(dialect.is_joined)
            self.streams.append(stream)

    def close(self) -> None:
        """Close all connections."""
        for stream in self.streams:
            stream.close()
        self.speaker.close()


@asynccontextmanager
async def audience_of(
    port: int, dialect: Dialect, size: int, channel: str
) -> AsyncIterator[Audience]:
    """Provide streams and their speaker; close them at the end."""
    audience = Audience()
    try:
        await audience.gather(port, dialect, size, channel)
        yield audience
    finally:
        audience.close()


async def tell(
    audience: Audience, phrase: Callable[[], tuple[bytes, bytes]], repeats: int, times: int
) -> int:
    """Broadcast from the speaker; the next message is sent when all streams have this one, once.

    Args:
        times: How often a message contains its token.
    """
    crowd, token = audience.speaker, b""
    heard: dict[Stream, int] = {}
    left = 0

    def on_tokens(stream: Stream, data: bytes) -> None:
        nonlocal left
        count = data.count(token)
        if count != data.count(b"<"):
            crowd.fail(f"a stream heard something else: {data[:500]!r}")
        if count:
            heard[stream] -= count
            if heard[stream] == 0:
                left -= 1
            elif heard[stream] < 0:
                crowd.fail("a stream heard something twice")
            if not left:
                crowd.finish()

    for stream in audience.streams:
        stream.forget()
        stream.on_tokens = on_tokens
    crowd.listen(lambda _client, _text: None)
    for _ in range(repeats):
        token, frame = phrase()
        heard = dict.fromkeys(audience.streams, times)
        left = len(heard)
        crowd.clients[0].send(frame)
        await crowd.finished()
    return repeats * len(audience.streams)


async def times_in(audience: Audience, phrase: Callable[[], tuple[bytes, bytes]]) -> int:
    """Return how often a received message contains its token."""
    token, frame = phrase()
    client = audience.speaker.clients[0]
    texts: list[bytes] = []

    def is_it(text: bytes) -> bool:
        if token in text:
            texts.append(text)
        return bool(texts)

    heard = client.expect(is_it)
    client.send(frame)
    await heard
    count = texts[0].count(token)
    for stream in audience.streams:
        await stream.until(lambda data: data.count(token) >= count)
    return count


async def _post(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        status = await reader.readline()
        if not status.startswith(b"HTTP/1.1 20"):
            raise BenchmarkFailed(f"a stream could not join: {status!r}")
    finally:
        writer.close()


def _has_head(data: bytes) -> bool:
    return b"\r\n\r\n" in data


def _ignore(_stream: Stream, _data: bytes) -> None:
    pass
