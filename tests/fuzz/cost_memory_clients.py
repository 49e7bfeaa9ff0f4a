"""Clients of the memory rows of `python -m tests.fuzz.cost`: they say much, and read when told."""

import json
import select
import time
from collections.abc import Iterable
from typing import Final, Self

from tests.fuzz.cost_inputs import Transport
from tests.fuzz.raw_sockets import (
    Ended,
    RawEventStream,
    RawSocket,
    RawWebSocket,
    frame,
    request,
)

# A server that takes nothing for so long has stopped reading.
STUCK_SECONDS: Final = 0.15
_PER_POST: Final = 64
_POST_BYTES: Final = 250_000


def envelope(action: str, event: str, channel: str, payload: object = None) -> bytes:
    """One message of a client."""
    fields = {"action": action, "event": event, "channelName": channel, "requestId": "1"}
    return json.dumps(fields | {"payload": payload or {}}, separators=(",", ":")).encode()


def join(channel: str, payload: object = None) -> bytes:
    """One join."""
    return envelope("JOIN_CHANNEL", "join", channel, payload)


def leave(channel: str) -> bytes:
    """One leave."""
    return envelope("LEAVE_CHANNEL", "leave", channel)


def event(name: str, channel: str, payload: object = None) -> bytes:
    """One event."""
    return envelope("BROADCAST", name, channel, payload)


class Hostile:
    """One client. What it is sent waits in the server, or in the system, until `read`.

    Args:
        user: The id that the application is to give it.
    """

    def __init__(self, port: int, transport: Transport, user: str = "") -> None:
        self._port = port
        headers = {"X-User": user} if user else {}
        self._sock: RawWebSocket | RawEventStream
        self._pipe: RawSocket | None = None
        self.is_over = False
        if transport == "websocket":
            self._sock = RawWebSocket(port, headers)
        else:
            self._sock = RawEventStream(port, headers)

    def say(self, messages: Iterable[bytes]) -> None:
        """Send messages, until the server ends the connection or takes no more."""
        if isinstance(self._sock, RawWebSocket):
            self.write(b"".join(map(frame, messages)))
            return
        batch: list[bytes] = []
        size = 0
        for message in messages:
            if len(batch) == _PER_POST or size + len(message) > _POST_BYTES:
                self._post(batch)
                batch, size = [], 0
            batch.append(message)
            size += len(message) + 1
        self._post(batch)

    def _post(self, batch: list[bytes]) -> None:
        if batch and not self.is_over:
            self.is_over = self.post(b"[" + b",".join(batch) + b"]") in (0, 404)

    def post(self, body: bytes) -> int:
        """POST a body for this stream; gives the status, 0 if there was none."""
        assert isinstance(self._sock, RawEventStream)
        named = {"X-Connection-ID": self._sock.connection_id, "Content-Type": "application/json"}
        try:
            self._pipe = self._pipe or RawSocket(self._port)
            self._pipe.send(request("POST", "/socket", named, body))
            answer = self._pipe.response()
        except Ended:
            self._hang_up()
            return 0
        if answer.headers.get("connection") == "close":
            self._hang_up()
        return answer.status

    def delete(self) -> None:
        """End the stream as a good client does, and stay with its id."""
        assert isinstance(self._sock, RawEventStream)
        named = {"X-Connection-ID": self._sock.connection_id}
        self._pipe = self._pipe or RawSocket(self._port)
        self._pipe.send(request("DELETE", "/socket", named))
        self._pipe.response()

    def write(self, wire: bytes, *, stuck_seconds: float = STUCK_SECONDS) -> None:
        """Write to the WebSocket, until the server ends it or takes nothing for so long."""
        left = memoryview(wire)
        raw = self._sock.socket
        raw.setblocking(False)
        while left and not self.is_over:
            if not select.select([], [raw], [], stuck_seconds)[1]:
                return
            try:
                left = left[raw.send(left) :]
            except BlockingIOError:
                pass  # it is asked again
            except OSError:
                self.is_over = True

    def read(self, seconds: float = 0.0) -> None:
        """Drop what has come, and what comes within so long."""
        raw = self._sock.socket
        deadline = time.monotonic() + seconds
        while not self.is_over:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([raw], [], [], left)[0]:
                return
            try:
                self.is_over = not raw.recv(1 << 20)
            except OSError:
                self.is_over = True

    def close(self, *, by_close_frame: bool = False) -> None:
        """Go: by a close frame, or as if the network had failed."""
        if by_close_frame and isinstance(self._sock, RawWebSocket):
            self.write(frame((1000).to_bytes(2), 8))
            self.read(1.0)
        self._sock.abort()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._pipe is not None:
            self._pipe.__exit__()
            self._pipe = None


class Crowd:
    """The clients of a row.

    Args:
        turn: Differs between two runs of a row, for names that must be new.
    """

    def __init__(self, port: int, transport: Transport, turn: int) -> None:
        self.transport = transport
        self.turn = turn
        self._port = port
        self._here: list[Hostile] = []

    def come(self, count: int = 1, user: str = "") -> list[Hostile]:
        """Connect so many."""
        new = [Hostile(self._port, self.transport, user) for _ in range(count)]
        self._here += new
        return new

    def names(self, pattern: str, count: int, number: int = 0) -> list[str]:
        """So many names of channels that no other call has given, each 250 characters long."""
        heads = [f"/{pattern}/{self.turn}-{number}-{each}-" for each in range(count)]
        return [head + "n" * (250 - len(head)) for head in heads]

    def go(self, client: Hostile, *, by_close_frame: bool = False) -> None:
        """End one client's connection."""
        self._here.remove(client)
        client.close(by_close_frame=by_close_frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections."""
        for client in self._here:
            client.close()
        self._here.clear()
