"""How much memory frames take while they wait, and how much they count as.

`python -m tests.core.waiting_frames` prints both for each kind, in bytes a frame. Each kind is
measured in a process of its own: memory that was used before would be used again, and not be seen.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pondsocket._delivery.frame import SharedFrame
from pondsocket._delivery.ordered import PendingFrame
from pondsocket.adapter import BoundedQueue, Frame
from pondsocket_common import (
    Position,
    ServerActions,
    ServerMessage,
    dump_json,
    fresh_id,
)

COUNT: Final = 2_000
_NEVER: Final = 1 << 40


def _payload(number: int, size: int) -> dict[str, object]:
    return {"n": number, "text": "x" * size}


def _reply(number: int, payload: dict[str, object]) -> Frame:
    return Frame.of(ServerMessage(ServerActions.SYSTEM, "echo", "/chat/1", fresh_id(), payload))


def _broadcast(number: int, size: int) -> Frame:
    payload = dump_json(_payload(number, size))
    return Frame.broadcast("/chat/1", "said", fresh_id(), payload, Position("epoch", number))


def _as_text(number: int, size: int) -> Frame:
    """Return a broadcast that other members have got as a WebSocket message."""
    frame = _broadcast(number, size)
    frame.websocket_form = {"type": "websocket.send", "text": frame.text}
    return frame


def _as_wire(number: int, size: int) -> Frame:
    frame = _broadcast(number, size)
    frame.make_wire()
    return frame


def _as_stream(number: int, size: int) -> Frame:
    frame = _broadcast(number, size)
    body = frame.sse + b""
    frame.stream_form = (b"", {"type": "http.response.body", "body": body, "more_body": True})
    return frame


def _presence(number: int) -> Frame:
    message = ServerMessage(
        ServerActions.PRESENCE, "UPDATE", "/chat/1", fresh_id(), {"changed": {"n": number}}
    )
    return SharedFrame.of(message)


def _late(number: int, size: int) -> PendingFrame:
    payload, frame = _payload(number, size), _broadcast(number, size)

    async def make() -> Frame | None:
        return frame if payload else None

    return PendingFrame(make, frame)


KINDS: Final[dict[str, Callable[[int], Frame | PendingFrame]]] = {
    "a short reply": lambda number: _reply(number, _payload(number, 50)),
    "a reply of many objects": lambda number: _reply(
        number, {"rows": [{"a": number + n} for n in range(100)]}
    ),
    "a long reply": lambda number: _reply(number, _payload(number, 9_000)),
    "a short broadcast, as a text": lambda number: _as_text(number, 50),
    "a short broadcast, as a frame": lambda number: _as_wire(number, 50),
    "a short broadcast, in a stream": lambda number: _as_stream(number, 50),
    "a long broadcast, as a text": lambda number: _as_text(number, 9_000),
    "a long broadcast, as a frame": lambda number: _as_wire(number, 9_000),
    "a long broadcast, in a stream": lambda number: _as_stream(number, 9_000),
    "a change of presence": _presence,
    "a broadcast that a handler still has to see": lambda number: _late(number, 2_000),
}


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _measured(make: Callable[[int], Frame | PendingFrame]) -> tuple[int, int]:
    queue: BoundedQueue[Frame | PendingFrame] = BoundedQueue(_NEVER, _NEVER, lambda _count: None)
    queue.begin_writing()
    before = _resident()
    for number in range(COUNT):
        queue.append(make(number))
    return (_resident() - before) // COUNT, queue.bytes // COUNT


def measure() -> Iterator[tuple[str, int, int]]:
    """Yield for each kind what one takes, and what it counts as."""
    for kind, make in KINDS.items():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            taken, counted = _measured(make)
            os.write(writing, b"%d %d" % (taken, counted))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            taken, counted = map(int, answer.read().split())
        os.waitpid(child, 0)
        yield kind, taken, counted


if __name__ == "__main__":
    for kind, taken, counted in measure():
        print(f"{kind}: {taken} {counted}")
    sys.exit(0)
