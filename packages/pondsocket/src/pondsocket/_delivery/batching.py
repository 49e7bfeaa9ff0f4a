"""Batching: what is broadcast in one turn of the event loop leaves together.

Without it, each message to each member costs a system call. In a channel where many members send,
the broadcasts of one loop turn are joined, once for all members, and written to each in one piece
(`tests/benchmarks`, "100 members all sending"). There is no timer: the loop delivers the batch
before it waits again, so the batch grows only with the load.

Other frames must not overtake a waiting broadcast: either they wait behind it, or the batch is
delivered first. Before a join or a leave, the batch is delivered, so that the recipients of a
broadcast are those who were members when it was made. A reply waits only while nothing waits in
other channels: channels are delivered one after the other, and the member may be in several.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import Context
from typing import Any, Final, Protocol

from pondsocket._runtime.loop import callback_context

from .fanout import K, deliver, deliver_batches, deliver_copies
from .frame import Batch, Frame
from .sink import Sink

# A batch waits for one loop turn only; the bound is for handlers that broadcast in a long loop.
_MAX_FRAMES: Final = 64
_MAX_BYTES: Final = 65_536


class EventLoop(Protocol):
    """An event loop that calls back before it waits for anything: asyncio's."""

    def call_soon(self, callback: Callable[[], object], /, *, context: Context) -> Any:
        """Call a function in the next turn."""
        ...


class LoopTurn:
    """The channels of a pond in which frames wait for the end of this loop turn.

    Until `enable` is called, no frame waits.

    Attributes:
        replying: The channel in which a reply waits; then nothing waits in others.
    """

    __slots__ = ("_context", "_find_loop", "_is_called", "_loop", "replying", "waiting")

    def __init__(self) -> None:
        self._find_loop: Callable[[], EventLoop | None] | None = None
        self._loop: EventLoop | None = None
        self._is_called = False  # whether that loop is going to call `_end`
        self._context = Context()
        self.waiting: dict[ChannelBatching, None] = {}
        self.replying: ChannelBatching | None = None

    def enable(self, find_loop: Callable[[], EventLoop | None]) -> None:
        """Batch from now on. `find_loop` returns the running loop if it is an `EventLoop`."""
        self._find_loop = find_loop

    def enter(self, batching: ChannelBatching) -> bool:
        """Register a channel in which a frame is to wait. False if it cannot wait."""
        loop = None if self._find_loop is None else self._find_loop()
        if loop is not self._loop:
            self.flush()  # the former loop has ended, and no longer calls `_end`
            self._loop, self._is_called = loop, False
            self._context = callback_context()
        if loop is None:
            return False
        if self.replying is not None and self.replying is not batching:
            self.flush()
        if not self._is_called:
            self._call(loop)
        self.waiting[batching] = None
        return True

    def _call(self, loop: EventLoop) -> None:
        # Not in the context of the handler that happens to broadcast first.
        loop.call_soon(self._end, context=self._context)
        self._is_called = True

    def _end(self) -> None:
        self._is_called = False
        try:
            self.flush()
        finally:
            if self.waiting and self._loop is not None:  # one raised: deliver the others later
                self._call(self._loop)

    def send(self, frame: Frame, sink: Sink) -> None:
        """Send a frame to a connection, or to a former member, behind all that waits."""
        if self.waiting:
            self.flush()
        if not sink.offer(frame):
            sink.overflow()

    def flush(self) -> None:
        """Deliver everything that waits."""
        while self.waiting:
            next(iter(self.waiting)).flush()


class ChannelBatching:
    """The frames that wait in one channel.

    Args:
        everyone: A view of the present members.
    """

    __slots__ = ("_everyone", "_frames", "_own", "_pauses", "_size", "loop_turn")

    def __init__(self, everyone: Collection[Sink], loop_turn: LoopTurn) -> None:
        self._everyone = everyone
        self.loop_turn: LoopTurn = loop_turn
        self._frames: list[Frame] = []
        self._size = 0
        # By member: what it gets instead, if it gets frames of its own or not all of the others.
        self._own: dict[Sink, list[Frame]] = {}
        self._pauses = 0

    def settle(self, *, is_for_all: bool) -> None:
        """Deliver what a broadcast that is about to be made would overtake otherwise."""
        if not is_for_all or self.loop_turn.replying not in (None, self):
            self.flush()

    def broadcast(self, frame: Frame, but: Sink | None = None) -> None:
        """Send a frame to all members, or to all but one; it may wait for the end of this turn."""
        if self._add(frame, but):
            return
        if but is None:
            deliver(frame, self._everyone)
        else:
            deliver(frame, _all_but(but, self._everyone))

    def deliver(self, frame: Frame, sinks: Iterable[Sink]) -> None:
        """Send a frame to some members, now."""
        self.flush()
        deliver(frame, sinks)

    def deliver_copies(self, offer_copy: Callable[[K], bool], sinks: Sequence[K]) -> None:
        """Send copies to some members, now; see `fanout.deliver_copies`."""
        self.flush()
        deliver_copies(offer_copy, sinks)

    def send(self, frame: Frame, member: Sink) -> None:
        """Send a frame to one member, behind all that waits for it."""
        if self.loop_turn.waiting and self._add_own(frame, member):
            return
        if not member.offer(frame):
            member.overflow()

    def _add(self, frame: Frame, but: Sink | None) -> bool:
        """Add a frame for all members, or for all but one. False if it must not wait."""
        if self._pauses or not self.loop_turn.enter(self):
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

    def _add_own(self, frame: Frame, member: Sink) -> bool:
        """Add a frame behind what waits for this member. False if nothing does, then or now."""
        if not self._frames or len(self.loop_turn.waiting) > 1:
            # The member may be in those channels, too.
            self.loop_turn.flush()
            return False
        self._own_of(member).append(frame)
        self.loop_turn.replying = self
        self._size += frame.size
        if self._size >= _MAX_BYTES:
            self.flush()
        return True

    def pause(self) -> None:
        """Stop batching: a member begins to read the history, and would get a frame twice."""
        self.flush()
        self._pauses += 1

    def unpause(self) -> None:
        """Undo one `pause`: a member has caught up."""
        self._pauses -= 1

    def _own_of(self, member: Sink) -> list[Frame]:
        own = self._own.get(member)
        if own is None:
            own = self._own[member] = list(self._frames)
        return own

    def flush(self) -> None:
        """Deliver what waits here, after a reply that waits in another channel."""
        loop_turn = self.loop_turn
        if loop_turn.replying is not None and loop_turn.replying is not self:
            loop_turn.replying.flush()
        if not self._frames:
            return
        frames, own = self._frames, self._own
        self._frames, self._own, self._size = [], {}, 0
        loop_turn.waiting.pop(self, None)
        loop_turn.replying = None
        if own:
            others = [member for member in self._everyone if member not in own]
            # A member whose own list is empty is not written to.
            mine = [(Batch(each), (member,)) for member, each in own.items() if each]
            deliver_batches([(Batch(frames), others), *mine])
        elif len(frames) == 1:
            deliver(frames[0], self._everyone)
        else:
            deliver_batches([(Batch(frames), self._everyone)])


def _all_but(but: Sink, everyone: Iterable[Sink]) -> list[Sink]:
    return [member for member in everyone if member is not but]
