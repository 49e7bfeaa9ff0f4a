"""A channel's access to its history, which outlives the channel."""

from collections.abc import Callable

from pondsocket_common import Position, ServerMessage, decode_server

from pondsocket._errors import UsageError

from .log import HistoryLog, Kept
from .recovery import Splice, Verdict, splice
from .store import HistoryStore


class ChannelHistory:
    """The history of one channel.

    Args:
        clock: Returns seconds, from any start.
    """

    __slots__ = ("_members", "_name", "_store", "clock", "log")

    def __init__(self, name: str, history_store: HistoryStore, clock: Callable[[], float]) -> None:
        self._name = name
        self._store = history_store
        self.clock = clock
        # Only while there are members: a history without members may expire.
        self.log: HistoryLog | None = None
        self._members = 0

    def open(self) -> HistoryLog:
        """Return the log; start a new one if there is none."""
        log = self.log
        return self._store.open(self._name, self.clock()) if log is None else log

    def enter(self) -> None:
        """Count one more member."""
        self.log = self.open()
        self.log.enter()
        self._members += 1

    def leave(self) -> None:
        """Count one member less."""
        log, now = self.open(), self.clock()
        log.leave(now)
        self._store.tidy(now)
        self._members -= 1
        if not self._members:
            self.log = None

    def find_start(
        self, since: Position | None, user_id: str, latest: int | None, *, is_user_known: bool
    ) -> Splice:
        """Find the position after which a member's frames begin.

        Args:
            latest: How many messages a member gets that recovers nothing. None: as the history's
                options say, that is 1 with `size=1` and else 0.

        Raises:
            UsageError: `latest` is negative.
        """
        if latest is not None and latest < 0:
            raise UsageError(f"accept: history is a number of messages, and not {latest}.")
        log, now = self.open(), self.clock()
        log.expire(now)
        self._store.tidy(now)
        if latest is None:
            latest = int(self._store.options.size == 1)
        return splice(log, since, user_id, is_user_known=is_user_known, latest=latest)

    def read(self, since: Position | None, limit: int) -> list[ServerMessage] | None:
        """Return the last messages, or the first after `since`; None if some are lost.

        Raises:
            UsageError: `limit` is negative.
        """
        if limit < 0:
            raise UsageError(f"history: limit is a number of messages, and not {limit}.")
        # `find`, not `open`: a client whose join is refused must not make a history.
        now = self.clock()
        log = self._store.find(self._name, now) if self.log is None else self.log
        if log is None:
            return [] if since is None else None
        log.expire(now)
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
    """Decode a kept message."""
    return decode_server(kept.text, is_own=True)
