"""A socket, WebSocket frames and HTTP text by hand: what no client library would send."""

import base64
import json
import socket
import struct
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

# Never reached by a server that works, however busy the machine is.
WAIT_SECONDS: Final = 20.0

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

KEY: Final = base64.b64encode(bytes(16)).decode()


class Ended(Exception):  # noqa: N818 - a peer may
    """The server has ended the connection."""


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x13\x57\x9b\xdf",
    announced: int | None = None,
) -> bytes:
    """One frame of a client (RFC 6455, section 5.2), right or wrong.

    Args:
        mask: The key; None leaves the payload unmasked, which a client must not.
        announced: The length that the header tells, if not the true one.
    """
    size = len(payload) if announced is None else announced
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    masked = 0 if mask is None else 0x80
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    return head + (payload if mask is None else mask + masked_with(payload, mask))


def masked_with(payload: bytes, mask: bytes) -> bytes:
    """Return the payload under a key."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


@dataclass
class Response:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


class RawSocket:
    """A TCP connection to the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for what must not wait."""
        return self._socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            Ended: The server is gone.
        """
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionError):
            raise Ended from None

    def say_no_more(self) -> None:
        """End our half of the connection."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server was faster

    def wait_at_most(self, seconds: float) -> None:
        """Let reading raise TimeoutError after so long."""
        self._socket.settimeout(seconds)

    def abort(self) -> None:
        """End it by a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def take(self, size: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            Ended: The server ended the connection before.
        """
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def take_until(self, mark: bytes) -> bytes:
        """Everything up to and with the mark; raises as `take`."""
        while (at := self._buffer.find(mark)) < 0:
            self._fill()
        return self.take(at + len(mark))

    def some(self) -> bytes:
        """What has come, at least one byte; raises as `take`."""
        if not self._buffer:
            self._fill()
        return self.take(len(self._buffer))

    def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        try:
            while True:
                self._fill()
        except Ended:
            return self.take(len(self._buffer))

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except ConnectionError:
            raise Ended from None
        if not data:
            raise Ended
        self._buffer += data

    def response(self, *, has_body: bool = True) -> Response:
        """Return the next HTTP response, whole; raises as `take`."""
        head = self.head()
        if head.status in (204, 304) or head.status < 200 or not has_body:
            return head
        if "content-length" in head.headers:
            head.body = self.take(int(head.headers["content-length"]))
        elif head.headers.get("transfer-encoding") == "chunked":
            while chunk := self.chunk():
                head.body += chunk
        else:
            head.body = self.rest()
        return head

    def head(self) -> Response:
        """Return the start of an HTTP response."""
        first, *lines = self.take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (sock.partition(":") for sock in lines if sock)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Response(int(first.split()[1]), headers, b"")

    def chunk(self) -> bytes:
        """Return the next chunk of a chunked body; empty at its end."""
        size = int(self.take_until(b"\r\n"), 16)
        return self.take(size + 2)[:-2]


def request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """Return an HTTP request as it should be."""
    named = {"Host": "127.0.0.1", **(headers or {})}
    if body is not None:
        named["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {named[name]}" for name in named)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def ask(port: int, text: bytes) -> Response:
    """One request on a connection of its own."""
    with RawSocket(port) as sock:
        sock.send(text)
        return sock.response()


UPGRADE: Final = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


# Each message by itself, so that a frame can be made without knowing the one before.
DEFLATE: Final = {
    "Sec-WebSocket-Extensions": "permessage-deflate;"
    " server_no_context_takeover; client_no_context_takeover"
}


def deflated(data: bytes) -> bytes:
    """Return the payload of a compressed message (RFC 7692, section 7.2.1)."""
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    """Return the message of a compressed payload."""
    return zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff")


class RawWebSocket(RawSocket):
    """An open WebSocket, frame by frame. `closed` is the server's close code, once it has come."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(port)
        self.send(request("GET", "/socket", UPGRADE | dict(headers or {})))
        self.answer = self.head()
        self.closed: int | None = None
        self.pongs: deque[bytes] = deque()
        if self.answer.status != 101:
            raise AssertionError(f"refused: {self.answer}")
        self.is_deflated = "sec-websocket-extensions" in self.answer.headers

    def text(self) -> str:
        """Return the next message of the server.

        Raises:
            Ended: It has closed; `closed` says how.
        """
        while True:
            head = self.take(2)
            size = head[1] & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self.take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.take(8))
            payload = self.take(size)
            # No fragments, extensions or masks: no server does that unasked.
            assert head[0] & 0x80, head
            assert not head[1] & 0x80, head
            match head[0] & 0x7F:
                case 1:
                    return payload.decode()
                case 0x41 if self.is_deflated:
                    return inflated(payload).decode()
                case 8:
                    self.closed = int.from_bytes(payload[:2]) if payload else 1005
                    raise Ended
                case 9:
                    self.send(frame(payload, PONG))
                case 10:
                    self.pongs.append(payload)
                case other:
                    raise AssertionError(f"the server sent opcode {other}: {payload[:100]!r}")


class RawEventStream(RawSocket):
    """An open event stream. `connection_id` is its secret."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(port)
        accept = {"Accept": "text/event-stream"}
        self.send(request("GET", "/socket", accept | dict(headers or {})))
        self.answer = self.head()
        if self.answer.status != 200:
            raise AssertionError(f"refused: {self.answer}")
        self.connection_id = self.answer.headers["x-connection-id"]
        self._is_chunked = self.answer.headers.get("transfer-encoding") == "chunked"
        self._text = b""

    def text(self) -> str:
        """Return the data of the next event; comments are skipped.

        Raises:
            Ended: The stream is over.
        """
        while True:
            block, found, rest = self._text.partition(b"\n\n")
            if not found:
                self._text += self._piece()
                continue
            self._text = rest
            for field in block.split(b"\n"):
                assert field.startswith((b"event: ", b"data: ", b":", b"retry: ", b"id: ")), field
                if field.startswith(b"data: "):
                    return field[6:].decode()

    def _piece(self) -> bytes:
        if not self._is_chunked:
            raise AssertionError("an event stream over HTTP/1.1 comes in chunks")
        piece = self.chunk()
        if not piece:
            raise Ended
        return piece
