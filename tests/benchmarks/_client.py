"""A crowd of WebSocket clients that cost less than any server, and share no code with one.

RFC 6455 by hand: frames are cut out of what the socket gave, and not parsed any further.
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from typing import Final, TypeAlias, cast

# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
# Enough to fill a server's accept queue, not to overflow it.
_CONNECTING_AT_ONCE: Final = 50

OnText: TypeAlias = Callable[["Client", bytes], None]


class BenchmarkFailed(Exception):  # noqa: N818 - the sentence that ends the run
    """A server did not do what is measured."""


def client_frame(text: bytes, opcode: int = _TEXT) -> bytes:
    """A masked frame; the mask is zero, so that masking costs the client nothing."""
    size = len(text)
    if size < 126:
        return bytes((opcode, 0x80 | size)) + bytes(4) + text
    if size < 65_536:
        return bytes((opcode, 0x80 | 126)) + size.to_bytes(2) + bytes(4) + text
    return bytes((opcode, 0x80 | 127)) + size.to_bytes(8) + bytes(4) + text


class Client(asyncio.Protocol):
    """One connection.

    Args:
        path: What the handshake asks for.
        on_fault: Told why the connection ended, or what came that should not.
    """

    __slots__ = ("_handshake", "_key", "_on_fault", "_path", "_rest", "_transport", "on_text")

    def __init__(self, path: str, on_fault: Callable[[str], None]) -> None:
        self._path = path
        self._on_fault = on_fault
        self._key = base64.b64encode(os.urandom(16))
        self._handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""
        self._transport: asyncio.Transport
        self.on_text: OnText = _ignore

    async def opened(self) -> None:
        """Wait for the handshake.

        Raises:
            BenchmarkFailed: The server refused it.
        """
        await self._handshake

    def send(self, frame: bytes) -> None:
        """Send a frame made by `client_frame`."""
        self._transport.write(frame)

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
            % (self._path.encode(), self._key)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Report it: no server has a reason to end a connection."""
        self._fail(f"a connection was lost ({exc!r})")

    def data_received(self, data: bytes) -> None:
        """Cut frames out; nearly always there is exactly one, and whole."""
        if self._rest:
            data = self._rest + data
        start = 0 if self._handshake.done() else self._shake_hands(data)
        end = len(data)
        while self._handshake.done() and end - start >= 2:
            opcode, size = data[start], data[start + 1]
            body = start + 2
            if size >= 126:
                body += 2 if size == 126 else 8
                if body > end:
                    break
                size = int.from_bytes(data[start + 2 : body])
            if body + size > end:
                break
            start = body + size
            if opcode == _TEXT:
                self.on_text(self, data[body:start])
            else:
                self._take_control(opcode, data[body:start])
        self._rest = data[start:]

    # --- inside -------------------------------------------------------------------------------

    def _shake_hands(self, data: bytes) -> int:
        head, found, _ = data.partition(b"\r\n\r\n")
        if not found:
            return 0
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())  # noqa: S324
        if head.startswith(b"HTTP/1.1 101 ") and accept in head:
            self._handshake.set_result(None)
        else:
            self._fail(f"the handshake was answered with {head!r}")
        return len(head) + 4

    def _take_control(self, opcode: int, body: bytes) -> None:
        if opcode == _PING:
            self.send(client_frame(body, _PONG))
        elif opcode == _CLOSE:
            self._fail(f"a connection was closed: {int.from_bytes(body[:2])} {body[2:]!r}")
        elif opcode != _PONG:
            self._fail(f"a frame of kind {opcode:#x} came")

    def _fail(self, fault: str) -> None:
        if not self._handshake.done():
            self._handshake.set_exception(BenchmarkFailed(fault))
        self._on_fault(fault)


class Crowd:
    """The clients of one server."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self._fault: str | None = None
        self._turn: asyncio.Future[None] | None = None

    async def connect(self, port: int, path: str, size: int) -> None:
        """Connect this many more.

        Raises:
            BenchmarkFailed: The server refused one.
        """
        loop = asyncio.get_running_loop()
        for first in range(0, size, _CONNECTING_AT_ONCE):
            count = min(_CONNECTING_AT_ONCE, size - first)
            opening = [
                loop.create_connection(lambda: Client(path, self.fail), "127.0.0.1", port)
                for _ in range(count)
            ]
            opened = [client for _, client in await asyncio.gather(*opening)]
            self.clients += opened
            await asyncio.gather(*(client.opened() for client in opened))

    def listen(self, on_text: OnText) -> None:
        """Hear every client with this function; it may call `finish` or `fail`."""
        for client in self.clients:
            client.on_text = on_text

    async def finished(self) -> None:
        """Wait until somebody calls `finish`.

        Raises:
            BenchmarkFailed: Something went wrong instead.
        """
        if self._fault is None:
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn
        if self._fault is not None:
            raise BenchmarkFailed(self._fault)

    def finish(self) -> None:
        """All that was waited for is there."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def fail(self, fault: str) -> None:
        """Something is there that should not be; the first fault is the one that is told."""
        self._fault = self._fault or fault
        self.finish()


def _ignore(_client: Client, _text: bytes) -> None:
    pass
