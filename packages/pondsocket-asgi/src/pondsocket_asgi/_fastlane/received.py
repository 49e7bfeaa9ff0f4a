"""Messages that the fast lane has received and the app has not."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn._types import ASGIReceiveEvent

try:
    from websockets.speedups import apply_mask
except ImportError:  # where websockets was built without a compiler
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "MOST_EARLY",
    "MOST_HELD",
    "MOST_MESSAGES",
    "Received",
    "apply_mask",
    "takes_nothing",
]

# Characters of texts, and bytes of binary messages, that wait for the app before reading is paused.
# One more read of the socket may add 256 KiB at most, on both event loops.
MOST_HELD: Final = 256 * 1024
# How many messages wait for the app at most. Such a read may have 37,000 texts of one character,
# which take 9 MB as messages; what is beyond this is kept as it was read.
MOST_MESSAGES: Final = 1_024

# What is kept of a client that sends before it was answered, until no more is read.
MOST_EARLY: Final = 64 * 1024

_TEXT: Final = 0x81
_BINARY: Final = 0x82


def takes_nothing(_text: str) -> bool:
    """Leave a text to be queued."""
    return False


class Received:
    """The messages that wait for the app, and the future of a `receive` that waits for one.

    Attributes:
        take_now: Takes a text while `waiter` waits. False: it is to be queued, before all others.
        longest_now: How many bytes such a text may have.
        rest: What was read and not parsed yet, because so much waits for the app. Where it is known
            at all where frames begin, it begins with one.
    """

    __slots__ = ("held", "longest_now", "messages", "rest", "take_now", "waiter")

    def __init__(self) -> None:
        # No deque, which takes 0.7 KiB while it is empty, as nearly always: `python -m
        # tests.benchmarks`, "Memory of an idle member". To take the first of 1,024 is quick enough.
        self.messages: list[tuple[ASGIReceiveEvent, int]] = []
        self.held = 0
        self.rest = b""
        self.take_now: Callable[[str], bool] = takes_nothing
        self.longest_now = -1
        self.waiter: asyncio.Future[None] | None = None

    async def arrival(self, loop: "asyncio.AbstractEventLoop") -> None:
        """Wait until a message may be there."""
        before = self.waiter
        if before is not None and not before.done():
            self.take_now = takes_nothing  # which of the tasks takes what is not said
        self.waiter = waiter = loop.create_future()
        try:
            await waiter
        finally:
            # If several tasks wait, each wakes the one before it.
            if before is not None and not before.done():
                before.set_result(None)

    def put(self, message: ASGIReceiveEvent, size: int) -> None:
        """Queue a message."""
        self.messages.append((message, size))
        self._wake(size)

    def put_text(self, text: str, size: int, head: int) -> bool:
        """Have a text taken at once, or queue it. Return whether the app waits.

        Args:
            size: How many bytes its frame has.
            head: How many of them come before the text.
        """
        waiter = self.waiter
        if waiter is None:
            self.put({"type": "websocket.receive", "text": text}, size)
            return False
        if waiter.done() or size - head > self.longest_now or not self.take_now(text):
            self._put_first({"type": "websocket.receive", "text": text}, size)
        return True

    def _put_first(self, message: ASGIReceiveEvent, size: int) -> None:
        """Queue a message before all others; the app waits."""
        self.messages.insert(0, (message, size))
        self._wake(size)

    def _wake(self, size: int) -> None:
        self.held += size
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def put_nowait(self, message: ASGIReceiveEvent) -> None:
        """Queue a message from the base class, which expects an asyncio.Queue."""
        size = 0
        if message["type"] == "websocket.receive":
            size = len(message.get("text") or message.get("bytes") or "")
        self.put(message, size)

    def take_rest(self) -> bytes:
        """Return `rest`, and empty it."""
        rest, self.rest = self.rest, b""
        return rest

    def exceeds(self, most_messages: int) -> bool:
        """Whether reading is to be paused: so many messages wait, or too much in all."""
        return len(self.messages) >= most_messages or self.held >= MOST_HELD

    def is_half_empty(self, most_messages: int) -> bool:
        """Whether reading is to be resumed."""
        return 2 * len(self.messages) < most_messages and 2 * self.held < MOST_HELD

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be parsed."""
        return self.held >= MOST_HELD or len(self.messages) >= MOST_MESSAGES

    def take_frames(
        self, data: bytes, position: int, largest: int, *, is_last: bool = False
    ) -> int:
        """Queue whole, plain messages.

        Args:
            position: Where to begin.
            largest: How long a message may be.
            is_last: Queue all of them, even if there is no room.

        Returns:
            Where the first other frame begins, or the first one that there is no room for.
        """
        end, room = len(data), MOST_MESSAGES - len(self.messages)
        while position + 6 <= end and (is_last or (room > 0 and self.held < MOST_HELD)):
            room -= 1
            opcode, size, body = data[position], data[position + 1] - 128, position + 6
            if size == 126:
                size, body = int.from_bytes(data[position + 2 : position + 4]), position + 8
            elif size == 127:
                size, body = int.from_bytes(data[position + 2 : position + 10]), position + 14
            stop = body + size
            if size < 0 or size > largest or stop > end:
                break
            if opcode == _TEXT:
                try:
                    text = apply_mask(data[body:stop], data[body - 4 : body]).decode()
                except UnicodeDecodeError:
                    break
                self.put({"type": "websocket.receive", "text": text}, size)
            elif opcode == _BINARY:
                payload = apply_mask(data[body:stop], data[body - 4 : body])
                self.put({"type": "websocket.receive", "bytes": payload}, size)
            else:
                break
            position = stop
        return position
