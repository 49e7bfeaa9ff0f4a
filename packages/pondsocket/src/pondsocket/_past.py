"""What a channel has said: its history, which outlives the channel, and who reads it."""

from collections.abc import Callable

from pondsocket_common import Position, ServerMessage, decode_server

from ._errors import UsageError
from ._frames import Frame
from ._state.histories import Histories
from ._state.history import Audience, HistoryLog, Kept
from ._state.recovery import Splice, Verdict, splice


class Past:
    """The history of one channel.

    Args:
        clock: Seconds, from any start.
    """

    __slots__ = ("_clock", "_histories", "_log", "_members", "_name")

    def __init__(self, name: str, histories: Histories, clock: Callable[[], float]) -> None:
        self._name = name
        self._histories = histories
        self._clock = clock
        # Only as long as there are members: a history without may end.
        self._log: HistoryLog | None = None
        self._members = 0

    def open(self) -> HistoryLog:
        """The log."""
        return self._log or self._histories.open(self._name, self._clock())

    def enter(self) -> None:
        """One member more."""
        self._log = self.open()
        self._log.enter()
        self._members += 1

    def leave(self) -> None:
        """One member less."""
        log = self.open()
        log.leave(self._clock())
        self._members -= 1
        if not self._members:
            self._log = None

    def next_position(self) -> Position:
        """Where the next broadcast will stand."""
        log = self.open()
        return Position(log.epoch, log.top + 1)

    def keep(self, frame: Frame, position: Position, audience: Audience | None) -> None:
        """Keep a broadcast that was encoded for this position.

        Raises:
            UsageError: Something else has taken the position meanwhile.
        """
        log = self.open()
        if position.offset != log.top + 1:
            raise UsageError(f"A payload broadcast to {self._name} while it was encoded for it.")
        log.append(frame.json, frame.event, self._clock(), audience)
        frame.channel = self._name
        frame.position = position

    def find_start(
        self, since: Position | None, user_id: str, latest: int | None, *, is_user_known: bool
    ) -> Splice:
        """Where a member's frames begin; without `latest`, with the value of a latest value."""
        log = self.open()
        log.expire(self._clock())
        if latest is None:
            latest = int(self._histories.options.size == 1)
        return splice(log, since, user_id, is_user_known=is_user_known, latest=latest)

    def read(self, since: Position | None, limit: int) -> list[ServerMessage] | None:
        """The last few messages, or the first few since a position; None: not all are kept."""
        log = self.open()
        log.expire(self._clock())
        if since is None:
            offset = log.before_last(limit)
        elif splice(
            log, since, "", is_user_known=True, max_missed=len(log), max_missed_bytes=log.byte_count
        ).verdict is Verdict.RECOVERED:  # fmt: skip
            offset = since.offset
        else:
            return None
        return [as_message(kept) for kept, _ in zip(log.after(offset), range(limit), strict=False)]


def as_message(kept: Kept) -> ServerMessage:
    """A kept message as it went out."""
    return decode_server(kept.text)
