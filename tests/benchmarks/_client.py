"""WebSocket clients that cost less CPU time than any server, and share no code with one.

RFC 6455 by hand: frames are cut out of the received bytes, and not parsed any further.
"""

import asyncio
import base64
import errno
import hashlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias, cast

from tests.benchmarks._browser import COMPRESSED_TEXT, Deflate, is_deflating
from tests.benchmarks._dialects import Dialect

# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
# Enough to fill a server's accept queue, not to overflow it.
CONNECTING_AT_ONCE: Final = 50
# The last source address, 127.0.0.9: each has its own 28,000 ports.
_LAST_SOURCE: Final = 9
# No port of a source address is free: `connect` and `bind` say it in different ways.
_NO_PORT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE})
_SERVER: Final = "127.0.0.1"
# A token that no message holds; real tokens are put in its place.
BLANK: Final = "<00000000>"

OnText: TypeAlias = Callable[["Client", bytes], None]

_next_number = 1


class BenchmarkFailed(Exception):  # noqa: N818 - the sentence that ends the run
    """Raised when a server did not do what is measured."""


def client_frame(text: bytes, opcode: int = _TEXT) -> bytes:
    """Return a masked frame; the mask is zero, so that masking costs the client nothing."""
    size = len(text)
    if size < 126:
        return bytes((opcode, 0x80 | size)) + bytes(4) + text
    if size < 65_536:
        return bytes((opcode, 0x80 | 126)) + size.to_bytes(2) + bytes(4) + text
    return bytes((opcode, 0x80 | 127)) + size.to_bytes(8) + bytes(4) + text


def reserve(count: int) -> int:
    """Reserve `count` numbers that no earlier message had, and return the first."""
    global _next_number
    first, _next_number = _next_number, _next_number + count
    return first


def fresh_token() -> str:
    """Return a token that no earlier message held; its length is always the same."""
    return f"<{reserve(1):08}>"


class Phrase:
    """A message sent over and over, each time with another token.

    Args:
        make: Returns the message's text for a token.
    """

    def __init__(self, make: Callable[[str], bytes]) -> None:
        self.frame: Final = client_frame(make(BLANK))
        if BLANK.encode() not in self.frame:
            raise ValueError(f"the message does not hold its token: {self.frame!r}")

    def fresh(self) -> tuple[bytes, bytes]:
        """Return a new token, and the frame that holds it."""
        token = fresh_token().encode()
        return token, self.frame.replace(BLANK.encode(), token)


class Client(asyncio.Protocol):
    """One connection.

    Args:
        path: The path of the handshake.
        on_fault: Called with the reason why the connection ended, or with what was unexpected.
        headers: Whole lines that the handshake has besides; see `_browser`.
    """

    __slots__ = (
        "_headers", "_is_shaken", "_key", "_on_fault", "_path", "_rest", "_waiting", "deflate",
        "is_over", "may_end", "on_text", "transport",
    )  # fmt: skip

    def __init__(self, path: str, on_fault: Callable[[str], None], headers: bytes = b"") -> None:
        self._path = path
        self._headers = headers
        self._on_fault = on_fault
        self._key = base64.b64encode(os.urandom(16))
        self._is_shaken = False
        self.is_over = False
        self._rest = b""
        self._waiting: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport
        self.deflate: Deflate | None = None
        self.may_end = False
        self.on_text: OnText = _ignore

    def send(self, frame: bytes) -> None:
        """Send a frame made by `client_frame`."""
        self.transport.write(frame)

    def say(self, text: bytes) -> None:
        """Send a text, compressed if the server has accepted that, as a browser does."""
        if self.deflate is None:
            self.send(client_frame(text))
        else:
            self.send(client_frame(self.deflate.write(text), COMPRESSED_TEXT))

    def expect(
        self,
        is_it: Callable[[bytes], bool],
        answer: Callable[[bytes], bytes | None] | None = None,
    ) -> Awaitable[None]:
        """Return an awaitable that ends when such a text has come.

        Until then, the protocol's own texts are answered with what `answer` returns.

        Raises:
            BenchmarkFailed: The connection ended instead; the awaitable raises it.
        """
        future = self._waiting = asyncio.get_running_loop().create_future()

        def on_text(_client: Client, text: bytes) -> None:
            due = None if answer is None else answer(text)
            if due is not None:
                self.say(due)
            if is_it(text) and not future.done():
                future.set_result(None)
                self.on_text = _ignore

        self.on_text = on_text
        return future

    def close(self) -> None:
        """Send a close frame and close, without waiting for an answer."""
        self.is_over = True
        if not self.transport.is_closing():  # else the server was faster
            self.transport.write(client_frame((1000).to_bytes(2), _CLOSE))
            self.transport.close()

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n"
            % (self._path.encode(), self._key, self._headers)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a fault: no server has a reason to end a connection."""
        self._fail(f"a connection was lost ({exc!r})")

    def data_received(self, data: bytes) -> None:
        """Cut frames out; nearly always there is exactly one whole frame."""
        if self._is_shaken and not self._rest and data[0] == _TEXT and len(data) > 3:
            size = data[1]
            if size < 126:
                if size + 2 == len(data):
                    self.on_text(self, data[2:])
                    return
            elif size == 126 and (data[2] << 8 | data[3]) + 4 == len(data):
                self.on_text(self, data[4:])
                return
        self._cut(data)

    # --- inside -------------------------------------------------------------------------------

    def _cut(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        start = 0 if self._is_shaken else self._shake_hands(data)
        end = len(data)
        while self._is_shaken and end - start >= 2:
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
            elif opcode == COMPRESSED_TEXT and self.deflate is not None:
                self.on_text(self, self.deflate.read(data[body:start]))
            else:
                self._take_control(opcode, data[body:start])
        self._rest = data[start:]

    def _shake_hands(self, data: bytes) -> int:
        head, found, _ = data.partition(b"\r\n\r\n")
        if not found:
            return 0
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())  # noqa: S324
        if head.startswith(b"HTTP/1.1 101 ") and accept in head:
            self._is_shaken = True
            self.deflate = Deflate() if self._headers and is_deflating(head) else None
        else:
            self._fail(f"the handshake was answered with {head!r}")
        return len(head) + 4

    def _take_control(self, opcode: int, body: bytes) -> None:
        if opcode == _PING:
            self.send(client_frame(body, _PONG))
        elif opcode == _CLOSE and self.may_end:
            self.close()
        elif opcode == _CLOSE:
            self._fail(f"a connection was closed: {int.from_bytes(body[:2])} {body[2:]!r}")
        elif opcode != _PONG:
            self._fail(f"a frame of kind {opcode:#x} came")

    def _fail(self, fault: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self.may_end:
            return
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(BenchmarkFailed(fault))
        self._on_fault(fault)


async def share_out(
    size: int, connect_each: Callable[[Iterator[int]], Coroutine[Any, Any, None]]
) -> None:
    """Have workers connect so many clients, as many of them at once as may connect at once."""
    numbers = iter(range(size))
    workers = [
        asyncio.create_task(connect_each(numbers)) for _ in range(min(size, CONNECTING_AT_ONCE))
    ]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()


class Crowd:
    """The clients of one server.

    Args:
        source: The source address of the first of them, 127.0.0.`source`. Thousands should not have
            127.0.0.1: other connections of this machine need its ports.
    """

    def __init__(self, source: int = 1) -> None:
        self.clients: list[Client] = []
        self._fault: str | None = None
        self._source = source
        self._turn: asyncio.Future[None] | None = None

    async def connect(
        self,
        port: int,
        dialect: Dialect,
        size: int,
        channel: str | None = None,
        headers: bytes = b"",
    ) -> None:
        """Connect `size` more clients; each joins the channel as soon as it may.

        Args:
            headers: What their handshakes have besides.

        Raises:
            BenchmarkFailed: The server refused one.
        """

        async def connect_each(numbers: Iterator[int]) -> None:
            for _ in numbers:
                client = Client(dialect.path, self.fail, headers)
                await self._connect(client, port, dialect, channel)
                self.clients.append(client)

        await share_out(size, connect_each)

    def listen(self, on_text: OnText) -> None:
        """Call `on_text` for each text of every client; it may call `finish` or `fail`."""
        for client in self.clients:
            client.on_text = on_text

    async def finished(self) -> None:
        """Wait until `finish` or `fail` is called.

        Raises:
            BenchmarkFailed: `fail` was called.
        """
        if self._fault is None:
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn
        if self._fault is not None:
            raise BenchmarkFailed(self._fault)

    def finish(self) -> None:
        """End the wait of `finished`: all that is expected has come."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def fail(self, fault: str) -> None:
        """End the wait of `finished` with a fault; the first fault is the one that is raised."""
        self._fault = self._fault or fault
        self.finish()

    def let_end(self) -> None:
        """Let the server end connections: that is no fault from now on."""
        for client in self.clients:
            client.may_end = True

    def close(self) -> None:
        """End all connections."""
        for client in self.clients:
            client.close()
        self.clients.clear()

    async def _connect(
        self, client: Client, port: int, dialect: Dialect, channel: str | None
    ) -> None:
        # Before the first byte can come: CONNECTION may be in the same packet as the handshake.
        connected = client.expect(dialect.is_connected, dialect.answer)
        await self._open(client, port)
        await connected
        if channel is not None:
            joined = client.expect(dialect.is_joined, dialect.answer)
            client.say(dialect.join(fresh_token(), channel))
            await joined

    async def _open(self, client: Client, port: int) -> None:
        """Open the TCP connection, from the first source address that has a port left."""
        loop = asyncio.get_running_loop()
        while True:
            source = self._source
            try:
                if source == 1:
                    await loop.create_connection(lambda: client, _SERVER, port)
                else:
                    connected = await _connected_from(f"127.0.0.{source}", port)
                    await loop.create_connection(lambda: client, sock=connected)
            except OSError as error:
                if error.errno not in _NO_PORT or source == _LAST_SOURCE:
                    raise
                self._source = max(self._source, source + 1)
            else:
                return


async def _connected_from(source: str, port: int) -> socket.socket:
    """Return a socket that is connected to the server, from this address."""
    connecting = socket.socket()
    connecting.setblocking(False)
    try:
        if sys.platform == "linux":
            # Its port is chosen by `connect`, and may be one that a connection to another server
            # has, or had. A port that `bind` chooses is lost to all others, whatever their
            # addresses, until a minute after the end: two crowds of 19,500 left none.
            connecting.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        connecting.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connecting, (_SERVER, port))
    except BaseException:
        connecting.close()
        raise
    return connecting


def _ignore(_client: Client, _text: bytes) -> None:
    pass
