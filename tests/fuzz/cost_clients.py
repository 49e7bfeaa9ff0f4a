"""Clients of `python -m tests.fuzz.cost`: they send as fast as they can, and read all."""

import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from tests.fuzz.cost_inputs import CHANNEL, Input
from tests.fuzz.raw_sockets import (
    DEFLATE,
    Ended,
    RawEventStream,
    RawSocket,
    RawWebSocket,
    frame,
    request,
)

JOIN: Final = (
    b'{"action":"JOIN_CHANNEL","event":"join","channelName":"%b","requestId":"j","payload":{}}'
    % CHANNEL.encode()
)
# What is written at once.
_BLOB: Final = 256 * 1024
_PIPELINED: Final = 8
# While one waits for its answer, the server has the other's request.
_PIPES: Final = 2
_FOR_EVER: Final = 1 << 40


class FrameMeter:
    """Counts what a server sends, and sees its close frame. Pure."""

    def __init__(self) -> None:
        self.bytes = 0
        self.closed: int | None = None
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self.bytes += len(data)
        data = self._rest + data
        position, end = 0, len(data)
        while position + 2 <= end:
            size, body = data[position + 1], position + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, body = int.from_bytes(data[body : body + width]), body + width
            if body + size > end:
                break
            if data[position] == 0x88:
                self.closed = int.from_bytes(data[body : body + 2])
            position = body + size
        self._rest = data[position:]


class WebSocketFlooder(RawWebSocket):
    """A WebSocket that sends one input again and again."""

    def __init__(self, port: int, row: Input) -> None:
        super().__init__(port, DEFLATE if row.deflates else None)
        self._row = row
        self._wire = row.data if row.is_raw else frame(row.data)
        self._left = memoryview(frame(JOIN) + row.opening)
        self._meter = FrameMeter()
        self._meter.feed(bytes(self._buffer))
        self._is_over = False
        self._socket.setblocking(False)
        self._write(time.monotonic() + 5)

    @property
    def bytes_in(self) -> int:
        """What the server has sent."""
        return self._meter.bytes

    @property
    def was_closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self._is_over or self._meter.closed is not None

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_over

    @property
    def _has_to_stop(self) -> bool:
        return self._is_over or (self._meter.closed is not None and not self._row.sends_on)

    def send_many(self, count: int, deadline: float) -> None:
        """Send the input so often, or until the end."""
        per_blob = max(1, _BLOB // len(self._wire))
        blob = self._wire * min(count, per_blob)
        self._write(deadline)
        while count > 0 and not self._left and not self._has_to_stop:
            now = min(count, per_blob)
            self._left = memoryview(blob)[: now * len(self._wire)]
            self._write(deadline)
            count -= now

    def flood(self, deadline: float) -> float | None:
        """Send until the server ends it or the time is over; None: how often, is not known."""
        self.send_many(_FOR_EVER, deadline)
        return None

    def wait(self, seconds: float) -> None:
        """Read what comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._is_over:
            self._turn([], left)

    def _write(self, deadline: float) -> None:
        """Write what is left to be written, and read meanwhile."""
        while self._left and not self._has_to_stop:
            if (seconds := deadline - time.monotonic()) <= 0:
                return
            self._turn([self._socket], seconds)

    def _turn(self, writers: list[socket.socket], seconds: float) -> None:
        readable, writable, _ = select.select([self._socket], writers, [], seconds)
        try:
            if readable:
                received = self._socket.recv(_BLOB)
                self._is_over = not received
                self._meter.feed(received)
            if writable:
                most = 1 if self._row.in_segments else len(self._left)
                self._left = self._left[self._socket.send(self._left[:most]) :]
        except BlockingIOError:
            pass  # it is tried again
        except OSError:
            self._is_over = True


class Pipe:
    """Requests of one client, on one connection at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: RawSocket | None = None
        self.bytes = 0

    def statuses(self, wire: bytes, count: int) -> list[int]:
        """What so many of a request are answered, as far as one connection goes."""
        sock = self._sock = self._sock or RawSocket(self._port)
        found: list[int] = []
        try:
            try:
                sock.send(wire * count)
            except Ended:
                pass  # the answer may be there already
            while len(found) < count:
                answer = sock.response()
                found.append(answer.status)
                self.bytes += len(answer.body)
                if answer.headers.get("connection") == "close":
                    self.close()
                    break
        except Ended:
            self.close()
        return found or [0]

    def close(self) -> None:
        """End the connection."""
        if self._sock is not None:
            self._sock.__exit__()
            self._sock = None


class Poster:
    """An event stream and the POSTs that belong to it."""

    def __init__(self, port: int, row: Input) -> None:
        self._stream = RawEventStream(port)
        self._said = 0
        self.was_closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._pipes = [Pipe(port) for _ in range(_PIPES)]
        known = self._stream.connection_id
        headers = {"X-Connection-ID": known, "Content-Type": "application/json"}
        wire = row.data if row.is_raw else request("POST", "/socket", headers, row.data)
        self._wire = wire.replace(b"@ID@", known.encode())
        self._is_known = known.encode() in self._wire
        self._pipes[0].statuses(request("POST", "/socket", headers, JOIN), 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.say_no_more()
        self._reader.join(5)
        self._stream.__exit__()
        for pipe in self._pipes:
            pipe.close()

    @property
    def bytes_in(self) -> int:
        """What the server has sent."""
        return self._said + sum(pipe.bytes for pipe in self._pipes)

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.was_closed

    def _read(self) -> None:
        tail = b""
        self._stream.wait_at_most(60)
        try:
            while b'"GOODBYE"' not in tail:
                received = self._stream.some()
                self._said += len(received)
                tail = tail[-20:] + received
        except (Ended, OSError):
            pass
        self.was_closed = True

    def send_many(self, count: int, deadline: float) -> None:
        """Post the input so often, or until the end."""
        self._post(self._pipes[0], count, deadline)

    def _post(self, pipe: Pipe, count: int, deadline: float) -> int:
        posted = 0
        at_once = max(1, min(_PIPELINED, _BLOB // len(self._wire)))
        while posted < count and not self.was_closed and time.monotonic() < deadline:
            statuses = pipe.statuses(self._wire, min(at_once, count - posted))
            posted += len(statuses)
            if 404 in statuses and self._is_known:
                self.was_closed = True
        return posted

    def flood(self, deadline: float) -> float | None:
        """Post until the server ends it or the time is over; gives how often."""
        with ThreadPoolExecutor(_PIPES) as threads:
            posts = [threads.submit(self._post, pipe, _FOR_EVER, deadline) for pipe in self._pipes]
        return float(sum(post.result() for post in posts))

    def wait(self, seconds: float) -> None:
        """Read what comes for so long, which another thread does."""
        time.sleep(seconds)
