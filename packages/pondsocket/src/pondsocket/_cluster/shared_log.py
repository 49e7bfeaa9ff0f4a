"""A node's copy of the end of a channel's history, which the engine keeps."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from pondsocket_common import Position

from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.log import History, HistoryLog
from pondsocket._history.slice import Audience, HistorySlice
from pondsocket._replica.envelope import Envelope, unpack
from pondsocket.backplane import Keep, Slice


def keep_of(history: History) -> Keep:
    """Return what the engine keeps of a channel."""
    return Keep(history.size, history.ttl, history.max_bytes, history.position_ttl)


class _Unplaced:
    """In place of a position that the engine has not given yet; see `SharedPublishing`."""

    def __await__(self) -> Generator[Any, Any, Position]:
        raise RuntimeError("A broadcast of a shared channel is awaited by its publishing.")
        yield


UNPLACED: Final[Awaitable[Position]] = _Unplaced()


class SharedLog(HistoryLog):
    """The copy. It begins at any position, and grows as the engine's messages arrive.

    Args:
        start: The position before its first message.
        now: The time, in seconds from any start.
    """

    __slots__ = ()

    def __init__(self, options: History, start: Position, now: float) -> None:
        super().__init__(options, start.epoch, now)
        self.top = start.offset
        self._cut_at += start.offset

    def append(
        self,
        _event: str,
        _request_id: str,
        _payload: bytes,
        _now: float,
        _audience: Audience | None = None,
    ) -> Any:
        """Keep nothing: the engine gives the position, and `deliver` adds the message then."""
        return UNPLACED

    def deliver(
        self, event: str, request_id: str, payload: bytes, now: float, audience: Audience | None
    ) -> Position:
        """Add the engine's next message."""
        return super().append(event, request_id, payload, now, audience)


class SharedStore:
    """The histories of a lobby that the engine keeps. Its channels read them by `SharedHistory`."""

    def __init__(self, options: History) -> None:
        self.options = options

    def open(self, _key: str, _now: float, /) -> SharedLog:
        """Not available: a channel opens its own."""
        raise RuntimeError("A shared channel opens its history itself.")

    def find(self, _key: str, _now: float, /) -> None:
        """Return None: the engine knows."""
        return

    def is_new(self, _key: str, _now: float, /) -> bool:
        """Return False: only the engine knows."""
        return False

    def tidy(self, _now: float) -> None:
        """Do nothing: the engine does it."""


class SharedHistory(ChannelHistory):
    """The history of a shared channel, as its members here read it.

    Args:
        options: What the engine keeps.
        read: Reads the history from the engine, where this node has no copy.
    """

    __slots__ = ("_options", "_read", "copy")

    def __init__(
        self,
        name: str,
        options: History,
        clock: Callable[[], float],
        read: Callable[[], Awaitable[Slice]],
    ) -> None:
        super().__init__(name, name, SharedStore(options), clock)
        self._options = options
        self._read = read
        self.copy: SharedLog | None = None  # while this node has one

    def begin(self, found: Slice) -> None:
        """Begin the copy with what the engine keeps."""
        self._set(copy_of(found, self._options, self.clock()))

    def begin_after(self, start: Position) -> None:
        """Begin the copy anew, after a position."""
        self._set(SharedLog(self._options, start, self.clock()))

    def _set(self, copy: SharedLog) -> None:
        self.copy = copy
        if self.log is not None:
            self.log = copy

    def end(self) -> None:
        """Drop the copy."""
        self.copy = self.log = None

    def open(self) -> SharedLog:
        """Return the copy; without members here, and so without one, what only appends."""
        if self.copy is None:
            return SharedLog(self._options, Position("", 0), self.clock())
        return self.copy

    def enter(self) -> None:
        """Count one more member."""
        self._members += 1
        self.log = self.open()

    def leave(self) -> None:
        """Count one member less."""
        self._members -= 1
        if not self._members:
            self.log = None

    def find(
        self, since: Position | None, limit: int
    ) -> HistorySlice | Awaitable[HistorySlice] | None:
        """Return what `messages` needs; see `ChannelHistory.find`."""
        self.check_limit(limit)
        if self.copy is not None:
            return self.copy.read(since, limit, self.clock())
        return self._find()

    async def _find(self) -> HistorySlice:
        return copy_of(await self._read(), self._options, self.clock())


def copy_of(found: Slice, options: History, now: float) -> SharedLog:
    """Return a copy of what the engine keeps."""
    log = SharedLog(options, Position(found.epoch, found.begins_after), now)
    for entry in found.entries:
        envelope = unpack(entry.data)
        if envelope is None:
            # Of another version. What comes before it cannot be recovered without a gap.
            log = SharedLog(options, Position(found.epoch, entry.offset), now)
        else:
            event, request_id, payload = envelope.event, envelope.request_id, envelope.payload
            log.deliver(event, request_id, payload, now, audience_of(envelope, entry.spared))
    return log


def audience_of(envelope: Envelope, spared: str) -> Audience | None:
    """Return the users that a message is for; None: all."""
    return Audience((spared,), is_exclusion=True) if spared else envelope.audience
