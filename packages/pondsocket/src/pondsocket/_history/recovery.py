"""How a member that was away gets what it missed before it gets anything new.

Catch-up is a position, not a queue. A recovering member reads from the history as fast as its
outbox has room, and what is broadcast meanwhile only makes the history longer. So a history that is
larger than an outbox makes no slow consumer. Only what no history keeps (replies, presence) waits
here, each frame behind the message that was the latest when it came. Reading the last message and
being live again are one step without an await, so no other task runs in between.
"""

from collections import deque
from enum import Enum, auto
from typing import Final, Generic, NamedTuple, TypeVar

from pondsocket_common import Position

from .slice import HistorySlice, KeptMessage

T = TypeVar("T")

# What one join may recover: the protocol's bounds.
MAX_MISSED: Final = 300
MAX_MISSED_BYTES: Final = 1_048_576
# As many as an outbox holds by default.
MAX_HELD: Final = 1_024
MAX_HELD_BYTES: Final = 1_048_576


class Verdict(Enum):
    """Whether a join's `since` is recovered, or why not."""

    NOT_ASKED = auto()
    RECOVERED = auto()
    OTHER_EPOCH = auto()
    FUTURE = auto()
    TRIMMED = auto()
    TOO_MUCH = auto()
    UNKNOWN_AUDIENCE = auto()


class Splice(NamedTuple):
    """The position after which a join's frames begin. The acknowledgement contains it.

    Args:
        verdict: Why they begin there.
    """

    verdict: Verdict
    position: Position

    @property
    def recovered(self) -> bool | None:
        """The acknowledgement's `recovered`; None if the client did not ask."""
        return None if self.verdict is Verdict.NOT_ASKED else self.verdict is Verdict.RECOVERED


def splice(
    log: HistorySlice,
    since: Position | None,
    user_id: str,
    *,
    is_user_known: bool,
    latest: int = 0,
    is_bounded: bool = True,
) -> Splice:
    """Decide where a member's frames begin. It gets all that it missed, or nothing of it.

    Args:
        since: The position of the last message that it has; None: it does not ask.
        is_user_known: Whether the application gave the user id. An id that the server made is new
            with every connection, so it does not tell whether an audience included this client.
        latest: How many messages a member gets if it recovers nothing.
        is_bounded: Whether the bounds of one join hold.
    """
    verdict = Verdict.NOT_ASKED
    if since is not None:
        verdict = _judge(log, since, user_id, is_user_known, is_bounded)
        if verdict is Verdict.RECOVERED:
            return Splice(verdict, since)
    start = log.before_last(latest, user_id) if latest else log.top
    return Splice(verdict, Position(log.epoch, start))


def _judge(
    log: HistorySlice,
    since: Position,
    user_id: str,
    is_user_known: bool,
    is_bounded: bool,
) -> Verdict:
    if since.epoch != log.epoch:
        return Verdict.OTHER_EPOCH
    if since.offset > log.top:
        return Verdict.FUTURE
    if since.offset + 1 < log.first:
        return Verdict.TRIMMED
    if not is_user_known and log.has_audience_after(since.offset):
        return Verdict.UNKNOWN_AUDIENCE
    if is_bounded:
        count, size = log.count_after(since.offset, user_id)
        if count > MAX_MISSED or size > MAX_MISSED_BYTES:
            return Verdict.TOO_MUCH
    return Verdict.RECOVERED


class RecoveryState(Enum):
    """The state of a member's catch-up."""

    BEHIND = auto()
    STALLED = auto()
    LIVE = auto()
    OUTRUN = auto()
    GONE = auto()


class RecoveryEvent(Enum):
    """What can happen to a catch-up."""

    FULL = auto()
    ROOM = auto()
    CAUGHT_UP = auto()
    TRIMMED = auto()
    LEFT = auto()


RECOVERY_STATES: Final = {
    (RecoveryState.BEHIND, RecoveryEvent.FULL): RecoveryState.STALLED,
    (RecoveryState.STALLED, RecoveryEvent.ROOM): RecoveryState.BEHIND,
    (RecoveryState.BEHIND, RecoveryEvent.CAUGHT_UP): RecoveryState.LIVE,
    (RecoveryState.BEHIND, RecoveryEvent.TRIMMED): RecoveryState.OUTRUN,
    (RecoveryState.BEHIND, RecoveryEvent.LEFT): RecoveryState.GONE,
    (RecoveryState.STALLED, RecoveryEvent.LEFT): RecoveryState.GONE,
}


class Recovery(Generic[T]):
    """The catch-up of one member, from a position to the present.

    Args:
        log: The history as it goes on, or what was read of it.
        offset: The offset of the last message that the member has.
        user_id: The member's user, who does not get messages that were for others only.
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_log",
        "_max_held",
        "_user_id",
        "offset",
        "state",
    )

    def __init__(
        self,
        log: HistorySlice,
        offset: int,
        user_id: str,
        *,
        max_held: int = MAX_HELD,
    ) -> None:
        self._log = log
        self._user_id = user_id
        self._max_held = max_held
        # Each item with the offset that was the latest when it came, and its size.
        self._held: deque[tuple[int, T, int]] = deque()
        self._held_bytes = 0
        self.offset: int = offset
        self.state: RecoveryState = RecoveryState.BEHIND

    @property
    def is_at_top(self) -> bool:
        """Whether nothing comes after the last item taken."""
        return self.offset == self._log.top and not self._held

    def reads(self, position: Position) -> bool:
        """Return whether the message at a position is read from the history."""
        return position.offset <= self._log.top and position.epoch == self._log.epoch

    def advance(self, event: RecoveryEvent) -> bool:
        """Change the state by an event. False if the event changes nothing."""
        following = RECOVERY_STATES.get((self.state, event))
        if following is None:
            return False
        self.state = following
        return True

    def hold(self, item: T, size: int = 0) -> bool:
        """Hold an item that the history does not keep, in order. False if it is too much."""
        # An item that is larger than the bound passes alone, as in an outbox: it would never fit.
        is_large = bool(self._held) and self._held_bytes + size > MAX_HELD_BYTES
        if is_large or len(self._held) >= self._max_held:
            return False
        self._held.append((self._log.top, item, size))
        self._held_bytes += size
        return True

    def take(self) -> KeptMessage | T | None:
        """Return the next item. None if there is none; `state` says why."""
        if self.state is not RecoveryState.BEHIND:
            return None
        if self.offset + 1 < self._log.first:
            self.advance(RecoveryEvent.TRIMMED)
            return None
        kept = self._log.next_after(self.offset, self._user_id)
        if self._held and (kept is None or self._held[0][0] < kept.offset):
            _, item, size = self._held.popleft()
            self._held_bytes -= size
            return item
        if kept is None:
            self.offset = self._log.top
            self.advance(RecoveryEvent.CAUGHT_UP)
            return None
        self.offset = kept.offset
        return kept

    def leave(self) -> list[T]:
        """End before the member has caught up. Return what is held, in order."""
        self.advance(RecoveryEvent.LEFT)
        held = [item for _, item, _ in self._held]
        self._held.clear()
        return held
