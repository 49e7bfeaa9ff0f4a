"""Requests over bare sockets, for what no library sends: odd bytes, slow bodies, no bodies."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from pondsocket_common import Headers

from tests.integration.clients import WAIT_SECONDS, Message
from tests.servers import Server


class Answer(NamedTuple):
    """A response; of an endless one the beginning."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Message:
        """Return the body."""
        message: Message = json.loads(self.body)
        return message


class RawConnection:
    """One connection over TCP, and what is said on it."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host = f"{server.host}:{server.port}".encode()
        self._reader = reader
        self._writer = writer

    def say(self, data: bytes) -> None:
        """Send bytes as they are, without waiting until they have arrived."""
        self._writer.write(data)

    def ask(self, method: bytes, target: bytes, *headers: bytes, host: bytes = b"") -> None:
        """Send the head of a request."""
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + (host or self._host), *headers]
        self.say(b"".join(line + b"\r\n" for line in lines) + b"\r\n")

    def shake_hands(self, target: bytes, *headers: bytes) -> None:
        """Ask for a WebSocket."""
        self.ask(
            b"GET",
            target,
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *headers,
        )

    async def answer(self) -> Answer:
        """Return the next response, with its body where it says how long that is."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            headers = Headers(pair for pair in map(_pair, lines))
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split(" ")[1]), headers, body)

    async def read_until(self, mark: bytes) -> bytes:
        """Return what comes up to a mark."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._reader.readuntil(mark)

    async def wait_closed(self) -> bytes:
        """Return what comes until the server ends the connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def hang_up(self) -> None:
        """End the connection."""
        self._writer.close()


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


@asynccontextmanager
async def calling(server: Server) -> AsyncIterator[RawConnection]:
    """Yield a connection for as long as the block lasts."""
    line = RawConnection(server, *await asyncio.open_connection(server.host, server.port))
    try:
        yield line
    finally:
        line.hang_up()


async def call(
    server: Server, method: bytes, target: bytes, *headers: bytes, body: bytes | None = None
) -> Answer:
    """One request and its answer."""
    async with calling(server) as line:
        sized = () if body is None else (b"Content-Length: %d" % len(body),)
        line.ask(method, target, *headers, *sized)
        line.say(body or b"")
        return await line.answer()


def lines(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    """Headers as they stand in a request."""
    return [f"{name}: {value}".encode("latin-1") for name, value in headers]
