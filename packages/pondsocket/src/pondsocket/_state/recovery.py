"""How a member that was away gets what it missed before it gets anything new.

The gate is a position, not a queue. A member that recovers reads from the history as its outbox
takes more, and what is broadcast meanwhile only makes the history longer: so a history that is
larger than an outbox closes nobody. Only what no history keeps (replies, presence) waits here,
each behind the message that was the latest when it came. Reading the last message and being live
again are one step, in which nobody else has a turn.
"""

from collections import deque
from enum import Enum, auto
from typing import Final, Generic, NamedTuple, TypeVar

from pondsocket_common import Position

from .history import HistoryLog, Kept

T = TypeVar("T")

# What one join may recover: the protocol's bounds.
MAX_MISSED: Final = 300
MAX_MISSED_BYTES: Final = 1_048_576
# As much as an outbox holds by default.
MAX_HELD: Final = 1_024
MAX_HELD_BYTES: Final = 1_048_576


class Verdict(Enum):
    """What becomes of a join's `since`."""

    NOT_ASKED = auto()
    RECOVERED = auto()
    OTHER_LIFE = auto()
    FUTURE = auto()
    TRIMMED = auto()
    TOO_MUCH = auto()
    UNKNOWN_AUDIENCE = auto()


class Splice(NamedTuple):
    """Where a join's frames begin: behind this position, which its acknowledgement tells.

    Args:
        verdict: Why they begin there.
    """

    verdict: Verdict
    position: Position

    @property
    def recovered(self) -> bool | None:
        """What the acknowledgement says; None where nobody asked."""
        return None if self.verdict is Verdict.NOT_ASKED else self.verdict is Verdict.RECOVERED


def splice(
    log: HistoryLog,
    since: Position | None,
    user_id: str,
    *,
    is_user_known: bool,
    latest: int = 0,
    max_missed: int = MAX_MISSED,
    max_missed_bytes: int = MAX_MISSED_BYTES,
) -> Splice:
    """Where a member's frames are to begin. All that it missed, or nothing.

    Args:
        since: Up to where it knows the channel; None: it does not ask.
        is_user_known: Whether the application gave the user id. An id that the server made up is
            new with every connection, so it does not say whether an audience meant this peer.
        latest: How many messages a member that recovers nothing gets.
    """
    verdict = Verdict.NOT_ASKED
    if since is not None:
        verdict = _judge(log, since, user_id, is_user_known, max_missed, max_missed_bytes)
        if verdict is Verdict.RECOVERED:
            return Splice(verdict, since)
    start = log.before_last(latest, user_id) if latest else log.top
    return Splice(verdict, Position(log.epoch, start))


def _judge(
    log: HistoryLog,
    since: Position,
    user_id: str,
    is_user_known: bool,
    max_missed: int,
    max_missed_bytes: int,
) -> Verdict:
    if since.epoch != log.epoch:
        return Verdict.OTHER_LIFE
    if since.offset > log.top:
        return Verdict.FUTURE
    if since.offset + 1 < log.first:
        return Verdict.TRIMMED
    if not is_user_known and log.has_audience_after(since.offset):
        return Verdict.UNKNOWN_AUDIENCE
    count, size = log.weigh_after(since.offset, user_id)
    if count > max_missed or size > max_missed_bytes:
        return Verdict.TOO_MUCH
    return Verdict.RECOVERED


class Reading(Enum):
    """How far a member is."""

    BEHIND = auto()
    STALLED = auto()
    LIVE = auto()
    OUTRUN = auto()
    GONE = auto()


class ReadingEvent(Enum):
    """What can befall it."""

    FULL = auto()
    ROOM = auto()
    CAUGHT_UP = auto()
    TRIMMED = auto()
    LEFT = auto()


READINGS: Final = {
    (Reading.BEHIND, ReadingEvent.FULL): Reading.STALLED,
    (Reading.STALLED, ReadingEvent.ROOM): Reading.BEHIND,
    (Reading.BEHIND, ReadingEvent.CAUGHT_UP): Reading.LIVE,
    (Reading.BEHIND, ReadingEvent.TRIMMED): Reading.OUTRUN,
    (Reading.BEHIND, ReadingEvent.LEFT): Reading.GONE,
    (Reading.STALLED, ReadingEvent.LEFT): Reading.GONE,
}


class Recovery(Generic[T]):
    """One member's way from a position to the present.

    Args:
        log: The history; it must not end while this is on its way.
        offset: Up to where the member knows it.
        user_id: Whose it is; what went to others is not for it.
    """

    __slots__ = ("_held", "_held_bytes", "_log", "_max_held", "_user_id", "offset", "state")

    def __init__(
        self, log: HistoryLog, offset: int, user_id: str, *, max_held: int = MAX_HELD
    ) -> None:
        self._log = log
        self._user_id = user_id
        self._max_held = max_held
        # Each with the offset that was the top when it came.
        self._held: deque[tuple[int, T, int]] = deque()
        self._held_bytes = 0
        self.offset = offset
        self.state = Reading.BEHIND

    @property
    def is_at_top(self) -> bool:
        """Whether nothing comes after what was taken."""
        return self.offset == self._log.top and not self._held

    def advance(self, event: ReadingEvent) -> bool:
        """Something happens to it; False: nothing that changes anything."""
        following = READINGS.get((self.state, event))
        if following is None:
            return False
        self.state = following
        return True

    def hold(self, item: T, size: int = 0) -> bool:
        """Keep something that the history does not have, in its place; False: it is too much."""
        # One that is larger than the bound passes alone, as in an outbox: no reading would help it.
        is_large = bool(self._held) and self._held_bytes + size > MAX_HELD_BYTES
        if is_large or len(self._held) >= self._max_held:
            return False
        self._held.append((self._log.top, item, size))
        self._held_bytes += size
        return True

    def take(self) -> Kept | T | None:
        """What comes next. None: nothing any more, and `state` says why."""
        if self.state is not Reading.BEHIND:
            return None
        if self.offset + 1 < self._log.first:
            self.advance(ReadingEvent.TRIMMED)
            return None
        kept = self._log.next_after(self.offset, self._user_id)
        if self._held and (kept is None or self._held[0][0] < kept.offset):
            _, item, size = self._held.popleft()
            self._held_bytes -= size
            return item
        if kept is None:
            self.offset = self._log.top
            self.advance(ReadingEvent.CAUGHT_UP)
            return None
        self.offset = kept.offset
        return kept

    def leave(self) -> list[T]:
        """The member goes before it has caught up; what waited is given back, in order."""
        self.advance(ReadingEvent.LEFT)
        held = [item for _, item, _ in self._held]
        self._held.clear()
        return held
