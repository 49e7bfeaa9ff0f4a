"""What is broadcast between two waits of the event loop leaves together.

Each message to each member by itself costs a system call. In a room where many speak, what one
turn of the loop has brought is joined, once for all members, and handed to each of them in one
piece (`tests/benchmarks`, "100 members all sending"). It adds no timer: the loop comes to it before
it waits again, and the batch grows with the load alone.

Whatever else is sent must not overtake: it is put behind what waits for the same member, or what
waits is handed out first. Who joins or leaves finds nothing waiting, so that the recipients of a
broadcast are those who were members when it was made. A reply waits only while nothing waits in
other rooms: these are handed out one after the other, and in none of them may it be overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, Final, Protocol

from ._delivery import Recipient, deliver, deliver_batches
from ._frames import Batch, Frame
from ._loop import callback_context

# Held only until the loop comes to it, so the bound is for handlers that broadcast without end.
_MAX_FRAMES: Final = 64
_MAX_BYTES: Final = 65_536


class EventLoop(Protocol):
    """An event loop that calls back before it waits for anything: asyncio's."""

    def call_soon(self, callback: Callable[[], object], /, *, context: Context) -> Any:
        """Call a function in the next turn."""
        ...


class Turn:
    """The rooms of a pond in which something waits for the end of this turn of the loop.

    Where no loop is lent nothing ever waits.

    Attributes:
        replying: The one in which a reply waits; then nothing does in others.
    """

    __slots__ = ("_context", "_find_loop", "_is_called", "_loop", "replying", "rooms")

    def __init__(self) -> None:
        self._find_loop: Callable[[], EventLoop | None] | None = None
        self._loop: EventLoop | None = None
        self._is_called = False  # or will be, by that loop
        self._context = Context()
        self.rooms: dict[Gathering, None] = {}
        self.replying: Gathering | None = None

    def lend(self, find_loop: Callable[[], EventLoop | None]) -> None:
        """Gather from now on; `find_loop` finds the running loop, if it is of that kind."""
        self._find_loop = find_loop

    def enter(self, room: Gathering) -> bool:
        """Something is to wait in a room; False: it cannot."""
        loop = None if self._find_loop is None else self._find_loop()
        if loop is not self._loop:
            self.flush()  # which a loop that has ended was to call
            self._loop, self._is_called = loop, False
            self._context = callback_context()
        if loop is None:
            return False
        if self.replying is not None and self.replying is not room:
            self.flush()
        if not self._is_called:
            self._call(loop)
        self.rooms[room] = None
        return True

    def _call(self, loop: EventLoop) -> None:
        # Not in the context of whoever happens to be the first to broadcast something.
        loop.call_soon(self._end, context=self._context)
        self._is_called = True

    def _end(self) -> None:
        self._is_called = False
        try:
            self.flush()
        finally:
            if self.rooms and self._loop is not None:  # the fault of one room is not the others'
                self._call(self._loop)

    def flush(self) -> None:
        """Hand out everything that waits."""
        while self.rooms:
            next(iter(self.rooms)).flush()


class Gathering:
    """What waits in one channel.

    Args:
        everyone: The members, as they are at the moment of the call.
    """

    __slots__ = ("_everyone", "_frames", "_holds", "_own", "_size", "turn")

    def __init__(self, everyone: Callable[[], Iterable[Recipient]], turn: Turn) -> None:
        self._everyone = everyone
        self.turn = turn
        self._frames: list[Frame] = []
        self._size = 0
        # What a member gets instead, who is sent something of its own, or not everything.
        self._own: dict[Recipient, list[Frame]] = {}
        self._holds = 0

    def add(self, frame: Frame, but: Recipient | None = None) -> bool:
        """Have a frame wait for all members, or for all but one; False: it must not wait."""
        if self._holds or not self.turn.enter(self):
            return False
        if but is not None:
            self._own_of(but)
        for member, frames in self._own.items():
            if member is not but:
                frames.append(frame)
        self._frames.append(frame)
        self._size += frame.size
        if len(self._frames) >= _MAX_FRAMES or self._size >= _MAX_BYTES:
            self.flush()
        return True

    def add_own(self, frame: Frame, member: Recipient) -> bool:
        """Have a frame wait behind what waits for this member; False: nothing does."""
        if not self.turn.rooms:
            return False
        if not self._frames or len(self.turn.rooms) > 1:
            # The member may be in those rooms, too.
            self.turn.flush()
            return False
        self._own_of(member).append(frame)
        self.turn.replying = self
        self._size += frame.size
        if self._size >= _MAX_BYTES:
            self.flush()
        return True

    def hold(self) -> None:
        """Let nothing wait: a member begins to read the history, where it would meet it again."""
        self.flush()
        self._holds += 1

    def release(self) -> None:
        """A member has read what it had to."""
        self._holds -= 1

    def _own_of(self, member: Recipient) -> list[Frame]:
        own = self._own.get(member)
        if own is None:
            own = self._own[member] = list(self._frames)
        return own

    def flush(self) -> None:
        """Hand out what waits, here and before it; nothing, mostly."""
        turn = self.turn
        if turn.replying is not None and turn.replying is not self:
            turn.replying.flush()
        if not self._frames:
            return
        frames, own = self._frames, self._own
        self._frames, self._own, self._size = [], {}, 0
        turn.rooms.pop(self, None)
        turn.replying = None
        if own:
            others = [member for member in self._everyone() if member not in own]
            # Whoever is sent nothing is not written to.
            mine = [(Batch(each), (member,)) for member, each in own.items() if each]
            deliver_batches([(Batch(frames), others), *mine])
        elif len(frames) == 1:
            deliver(frames[0], self._everyone())
        else:
            deliver_batches([(Batch(frames), self._everyone())])
