"""The machine's limit in Python: a bare uvloop server that writes ready bytes to transports.

No ASGI, almost no HTTP, no fragments, no closing handshake, no pings. A broadcast is one
frame, made once, and one `transport.write` per member.
"""

import argparse
import asyncio
import base64
import hashlib
from collections import defaultdict
from typing import Final, cast

import orjson
import uvloop
from websockets.speedups import apply_mask

from tests.benchmarks.apps.envelopes import answer

# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)

sockets: dict[str, dict[asyncio.Transport, None]] = defaultdict(dict)
streams: dict[str, dict[asyncio.Transport, None]] = defaultdict(dict)


class Connection(asyncio.Protocol):
    """One WebSocket or, at `/sse/<channel>`, one event stream."""

    __slots__ = ("_is_open", "_joined", "_rest", "_transport")

    def __init__(self) -> None:
        self._rest = b""
        self._is_open = False
        self._joined: list[dict[asyncio.Transport, None]] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the member from its channels."""
        for members in self._joined:
            members.pop(self._transport, None)

    def data_received(self, data: bytes) -> None:
        """Cut out whole frames."""
        data = self._rest + data
        if not self._is_open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._is_open = True
            self._open(head)
        while (size := frame_size(data)) and len(data) >= size:
            frame, data = data[:size], data[size:]
            if frame[0] == 0x81:
                self._take(unmasked(frame))
            elif frame[0] == 0x88:
                self._transport.close()
        self._rest = data

    def _open(self, head: bytes) -> None:
        target = head.split(b" ", 2)[1].decode()
        if target.startswith("/sse"):
            channel = target.removeprefix("/sse")
            self._transport.write(_STREAM)
            self._join(streams[channel])
            self._transport.write(chunk(answer("SYSTEM", "ACKNOWLEDGE", {}, channel, "0")))
            return
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        fields = {name.lower(): value.strip() for name, _, value in lines}
        key = fields[b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._transport.write(framed(answer("CONNECT", "CONNECTION", {}, "GATEWAY", "0")))

    def _join(self, members: dict[asyncio.Transport, None]) -> None:
        members[self._transport] = None
        self._joined.append(members)

    def _take(self, text: bytes) -> None:
        request = orjson.loads(text)
        channel, number = request["channelName"], request["requestId"]
        if request["action"] == "JOIN_CHANNEL":
            self._join(sockets[channel])
            self._transport.write(framed(answer("SYSTEM", "ACKNOWLEDGE", {}, channel, number)))
        elif request["event"] == "echo":
            heard = answer("SYSTEM", "echo", request["payload"], channel, number)
            self._transport.write(framed(heard))
        else:
            heard = answer("BROADCAST", request["event"], request["payload"], channel, number)
            write_all(sockets[channel], framed(heard))
            write_all(streams[channel], chunk(heard))


def write_all(members: dict[asyncio.Transport, None], ready: bytes) -> None:
    """Send the same bytes to every member."""
    for transport in members:
        transport.write(ready)


def frame_size(data: bytes) -> int:
    """Return the size of the masked frame that begins here; 0 if unknown yet. RFC 6455, 5.2."""
    if len(data) < 2:
        return 0
    size = data[1] & 0x7F
    if size < 126:
        return 6 + size
    wide = 2 if size == 126 else 8
    if len(data) < 2 + wide:
        return 0
    return 6 + wide + int.from_bytes(data[2 : 2 + wide])


def unmasked(frame: bytes) -> bytes:
    """Return the text of a whole frame."""
    size = frame[1] & 0x7F
    mask = 2 if size < 126 else 4 if size == 126 else 10
    return apply_mask(frame[mask + 4 :], frame[mask : mask + 4])


def framed(text: bytes) -> bytes:
    """Make a server's frame of the text."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2) + text
    return b"\x81\x7f" + size.to_bytes(8) + text


def chunk(text: bytes) -> bytes:
    """Make a chunk of an event stream of the text."""
    block = b"data: %b\n\n" % text
    return b"%x\r\n%b\r\n" % (len(block), block)


async def serve(port: int) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=2_048)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
