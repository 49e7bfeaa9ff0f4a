"""Clients over bare sockets, for peers that behave as no library lets them.

They choose the size of their receive buffer, stop reading and go on, and vanish as a host does
whose cable was pulled. RFC 6455 and chunked HTTP by hand, for the little of them that servers send;
what arrives is told at once, with the moment at which it came.
"""

import array
import asyncio
import base64
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self, TypeAlias, cast

from pondsocket_common import SSEDecoder

from tests.integration.clients import WAIT_SECONDS, Message, Transport, envelope
from tests.servers import Server

TEXT: Final = 0x81
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

# linux/filter.h and asm-generic/socket.h: a program of one instruction, "return 0 bytes".
_SO_ATTACH_FILTER: Final = 26
_DROP: Final = struct.pack("HBBI", 0x06, 0, 0, 0)

_TIME_WAIT: Final = "06"

OnMessage: TypeAlias = Callable[[Message, float], None]


class RawClient(asyncio.Protocol):
    """One connection.

    Args:
        transport: Over what.
        server: The server to connect to.
        user: The id of the user.
        headers: Further lines of the request, as a proxy adds them.
    """

    def __init__(
        self, transport: Transport, server: Server, user: str, headers: tuple[str, ...] = ()
    ) -> None:
        self.transport = transport
        self.user = user
        self.messages: list[Message] = []
        self.on_message: OnMessage = self.keep
        self.close_code: int | None = None
        self.is_complete = False
        self.answers_pings = True
        self.server = server
        self._path = f"/socket?user={user}"
        self._headers = headers
        self._connection_id = ""
        self._line: asyncio.Transport
        self._rest = b""
        self._thirst: int | None = None
        self._events = SSEDecoder()
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Exception | None] = loop.create_future()
        self._news = asyncio.Event()

    @classmethod
    async def connect(
        cls,
        transport: Transport,
        server: Server,
        user: str,
        receive_buffer: int | None = None,
        headers: tuple[str, ...] = (),
    ) -> Self:
        """Connect; a `receive_buffer` in bytes keeps the kernel from reading far ahead."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            # Before connecting: it is what the handshake promises the peer.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(WAIT_SECONDS):
            await loop.sock_connect(sock, (server.host, server.port))
            _, client = await loop.create_connection(
                lambda: cls(transport, server, user, headers), sock=sock
            )
            await client._opened
        return client

    # --- what a test does ---------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """This end, as the server knows it."""
        host, port = self._line.get_extra_info("sockname")
        return host, port

    @property
    def unread_bytes(self) -> int:
        """How much has arrived and was not read."""
        count = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, count)
        return count[0]

    async def send(self, action: str, channel: str, event: str, payload: Message) -> None:
        """Send one message."""
        body = json.dumps(envelope(action, channel, event, payload)).encode()
        if self.transport == "websocket":
            self.write_frame(TEXT, body)
        else:
            await self._post(body)

    async def join(self, channel: str) -> Self:
        """Join, and wait until it is acknowledged."""
        await self.send("JOIN_CHANNEL", channel, "join", {})
        await self.receive("ACKNOWLEDGE")
        return self

    async def receive(self, event: str, seconds: float = WAIT_SECONDS) -> Message:
        """Return the next message of this event, among those kept; those before it are forgotten.

        Raises:
            AssertionError: It did not come in time, or the connection ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            while self.messages:
                message = self.messages.pop(0)
                if message["event"] == event:
                    return message
            self._news.clear()
            left = deadline - time.monotonic()
            assert left > 0, f"{event} did not come"
            assert not self.ended.done(), f"{event} did not come before the end"
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                continue

    async def wait_ended(self, seconds: float) -> float:
        """Wait until the server has ended the connection; gives when."""
        async with asyncio.timeout(seconds):
            await asyncio.shield(self.ended)
        return time.monotonic()

    def stall(self) -> None:
        """Read no more."""
        self._line.pause_reading()

    def finish_writing(self) -> None:
        """End this side alone, as a program does that has said all."""
        self._line.write_eof()

    def resume(self, most_bytes: int | None = None) -> None:
        """Read again, but no more than this, give or take a buffer."""
        self._thirst = most_bytes
        self._line.resume_reading()

    def vanish(self) -> None:
        """Be a host whose cable was pulled: receive, acknowledge and send nothing."""
        assert sys.platform == "linux"
        program = ctypes.create_string_buffer(_DROP)
        given = struct.pack("HL", 1, ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)

    def finish(self) -> None:
        """End without a close frame, by an end of file."""
        self._line.abort()

    def reset(self) -> None:
        """End by a reset."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._line.abort()

    def write_frame(self, opcode: int, body: bytes) -> None:
        """Send a frame; the mask is zero, so that masking costs nothing."""
        size = len(body)
        if size < 126:
            head = bytes((opcode, 0x80 | size))
        else:
            head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2)
        self._line.write(head + bytes(4) + body)

    def write_bytes(self, data: bytes) -> None:
        """Send what no library sends, such as a part of a frame."""
        self._line.write(data)

    @property
    def _socket(self) -> socket.socket:
        return cast(socket.socket, self._line.get_extra_info("socket"))

    async def _post(self, body: bytes) -> None:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self.server.host}:{self.server.port}\r\n"
            f"X-Connection-ID: {self._connection_id}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            async with asyncio.timeout(WAIT_SECONDS):
                status = await reader.readline()
        finally:
            writer.close()
        assert b" 204 " in status, status

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._line = cast(asyncio.Transport, transport)
        head = f"GET {self._path} HTTP/1.1\r\nHost: {self.server.host}:{self.server.port}\r\n"
        if self.transport == "websocket":
            key = base64.b64encode(os.urandom(16)).decode()
            head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            head += f"Sec-WebSocket-Key: {key}\r\n"
        else:
            head += "Accept: text/event-stream\r\n"
        head += "".join(f"{line}\r\n" for line in self._headers)
        self._line.write(head.encode() + b"\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep the transport."""
        self.ended.set_result(exc)
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(f"the connection was lost: {exc!r}"))
        self._news.set()

    def data_received(self, data: bytes) -> None:
        """Keep the messages that are complete."""
        now = time.monotonic()
        if self._thirst is not None:
            self._thirst -= len(data)
            if self._thirst <= 0:
                self.stall()
        data = self._rest + data if self._rest else data
        if not self._opened.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._take_head(head)
        cut = self._take_frame if self.transport == "websocket" else self._take_chunk
        start = 0
        while (end := cut(data, start, now)) is not None:
            start = end
        self._rest = data[start:]

    def _take_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        if first.split(" ")[1] not in ("101", "200"):
            self._opened.set_exception(ConnectionError(first))
            return
        named = dict(line.lower().split(": ", 1) for line in lines)
        self._connection_id = named.get("x-connection-id", "")
        self._opened.set_result(None)

    def _take_frame(self, data: bytes, start: int, now: float) -> int | None:
        if len(data) - start < 2:
            return None
        opcode, size, body = data[start], data[start + 1], start + 2
        if size >= 126:
            body += 2 if size == 126 else 8
            size = int.from_bytes(data[start + 2 : body])
        if len(data) < body + size:
            return None
        given = data[body : body + size]
        if opcode == TEXT:
            self.on_message(json.loads(given), now)
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(given[:2])
            self.write_frame(CLOSE, given)
        elif opcode == PING and self.answers_pings:
            self.write_frame(PONG, given)
        return body + size

    def _take_chunk(self, data: bytes, start: int, now: float) -> int | None:
        line = data.find(b"\r\n", start)
        if line < 0:
            return None
        size, body = int(data[start:line], 16), line + 2
        if len(data) < body + size + 2:
            return None
        if size == 0:
            self.is_complete = True
            self._line.close()
        for event in self._events.feed(data[body : body + size]):
            self.on_message(json.loads(event.data), now)
        return body + size + 2

    def keep(self, message: Message, _now: float = 0.0) -> None:
        """Keep a message for `receive`."""
        self.messages.append(message)
        self._news.set()


class RawConnector:
    """Connects raw clients, and drops those that the test left open.

    Args:
        server: The server to connect to.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clients: list[RawClient] = []

    async def __call__(
        self,
        transport: Transport,
        user: str,
        receive_buffer: int | None = None,
        headers: tuple[str, ...] = (),
    ) -> RawClient:
        """Connect to `/socket` and wait for the first message."""
        client = await RawClient.connect(transport, self.server, user, receive_buffer, headers)
        self._clients.append(client)
        await client.receive("CONNECTION")
        return client

    def drop_all(self) -> None:
        """Reset what is open."""
        for client in self._clients:
            if not client.ended.done():
                client.reset()


@asynccontextmanager
async def connecting(server: Server) -> AsyncIterator[RawConnector]:
    """Raw clients of this server for as long as the block lasts."""
    connect = RawConnector(server)
    try:
        yield connect
    finally:
        connect.drop_all()


def socket_states(server: Server, address: tuple[str, int]) -> list[str]:
    """Return the states of the server's side of a connection, as the kernel knows it; none: gone.

    Sockets that the server has closed are in the list for as long as the kernel still holds data
    for the peer. Hexadecimal, from the kernel's `tcp_states.h`: 01 is established; and 06, which
    holds nothing but the pair of addresses for a minute after a proper end, is left out.
    """
    return [state for state, _ in _rows(server, address) if state != _TIME_WAIT]


def unacknowledged_bytes(server: Server, address: tuple[str, int]) -> int:
    """Return how much of what the server has written the peer's kernel has not taken."""
    return sum(int(queues.partition(":")[0], 16) for _, queues in _rows(server, address))


def _rows(server: Server, address: tuple[str, int]) -> list[tuple[str, str]]:
    """Return the state and the queues of the server's side of a connection."""
    own, peer = _hexadecimal((server.host, server.port)), _hexadecimal(address)
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - a file of the kernel's
        next(table)
        rows = [line.split()[1:5] for line in table]
    return [
        (state, queues) for local, remote, state, queues in rows if (local, remote) == (own, peer)
    ]


def _hexadecimal(address: tuple[str, int]) -> str:
    host, port = address
    # As the kernel prints it: the four bytes read as one number of this machine's order.
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
