"""A connection of each transport by hand: cheap enough for a million messages, and easy to cut."""

import asyncio
import json
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

from pondsocket_common import SSEDecoder

Message: TypeAlias = dict[str, Any]

_READ: Final = 65_536
# Twice as long as the server is ever silent: it says something every two seconds, to a stream that
# has nothing to hear a comment.
_SILENCE_SECONDS: Final = 5.0


class RawClient(ABC):
    """One connection; it ends with the iteration."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @abstractmethod
    def messages(self) -> AsyncIterator[Message]:
        """Yield what comes, until the connection ends."""

    @abstractmethod
    async def send(self, messages: list[Message]) -> None:
        """Send some."""

    def cut(self) -> None:
        """End it without a close."""
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await self._reader.read(_READ)

    async def _head(self) -> str:
        return (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")


class RawWebSocket(RawClient):
    """RFC 6455 as far as a server that behaves needs it."""

    @classmethod
    async def open(cls, host: str, port: int, target: str) -> "RawWebSocket":
        """Connect."""
        reader, writer = await asyncio.open_connection(host, port)
        client = cls(reader, writer)
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await client._head()
        if " 101 " not in head:
            raise ConnectionError(head.partition("\r\n")[0])
        return client

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the text frames; pings are answered."""
        buffer = b""
        while data := await self._read():
            buffer += data
            place = 0
            while (end := _frame_end(buffer, place)) is not None:
                start, stop = end
                opcode = buffer[place] & 15
                place = stop
                if opcode == 1:
                    yield json.loads(buffer[start:stop])
                elif opcode == 9:
                    self._write(10, buffer[start:stop])
                elif opcode == 8:
                    return
            buffer = buffer[place:]

    async def send(self, messages: list[Message]) -> None:
        """One frame each."""
        for message in messages:
            self._write(1, json.dumps(message).encode())

    def _write(self, opcode: int, payload: bytes) -> None:
        if self._writer.is_closing():
            return
        # A mask of zeros leaves the payload as it is.
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        self._writer.write(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)


def _frame_end(buffer: bytes, place: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `place` begins and ends, if it is all there."""
    if len(buffer) < place + 2:
        return None
    size, start = buffer[place + 1], place + 2
    if size == 126:
        if len(buffer) < start + 2:
            return None
        size, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
    elif size == 127:
        if len(buffer) < start + 8:
            return None
        size, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
    return (start, start + size) if len(buffer) >= start + size else None


class RawEventStream(RawClient):
    """A response in chunks, and POSTs on connections of their own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.decoder: Final = SSEDecoder()
        self.address = ("", 0)
        self._target = ""
        self._connection_id = ""

    @classmethod
    async def open(cls, host: str, port: int, target: str, last_event_id: str) -> "RawEventStream":
        """Connect; with an id, as browsers do it."""
        reader, writer = await asyncio.open_connection(host, port)
        client = cls(reader, writer)
        client.address, client._target = (host, port), target
        client.decoder.last_event_id = last_event_id
        resume = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n"
            f"{resume}\r\n".encode()
        )
        head = await client._head()
        if " 200 " not in head:
            raise ConnectionError(head.partition("\r\n")[0])
        rows = [row.split(": ", 1) for row in head.split("\r\n")[1:-2]]
        named = {name.lower(): value for name, value in rows}
        if "x-connection-id" not in named:
            raise ConnectionError("The server drains.")  # it says so, and when to come again
        client._connection_id = named["x-connection-id"]
        return client

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the events."""
        buffer = b""
        while data := await self._read():
            buffer += data
            while (head := buffer.find(b"\r\n")) >= 0:
                size = int(buffer[:head], 16)
                stop = head + 2 + size
                if len(buffer) < stop + 2:
                    break
                for event in self.decoder.feed(buffer[head + 2 : stop]):
                    yield json.loads(event.data)
                buffer = buffer[stop + 2 :]
                if not size:
                    return

    async def send(self, messages: list[Message]) -> None:
        """All in one POST."""
        body = json.dumps(messages).encode()
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(
                f"POST {self._target} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\n"
                f"X-Connection-ID: {self._connection_id}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            status = (await reader.readline()).split()
            if len(status) < 2 or status[1] != b"204":
                raise ConnectionError(f"POST: {status}")
        finally:
            writer.close()


def request_id() -> str:
    """Return a fresh one."""
    return os.urandom(8).hex()
