"""A channel's access to its history, which outlives the channel."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pondsocket_common import Payload, Position, ServerActions, ServerMessage, load_json

from pondsocket._errors import UsageError

from .emission import Emission
from .recovery import Splice, Verdict, splice
from .slice import EmittedMessage, HistorySlice, KeptMessage
from .store import ChannelLog, HistoryStore


class ChannelHistory:
    """The history of one channel.

    Args:
        key: What the store knows the channel by.
        clock: Returns seconds, from any start.

    Attributes:
        emission: The broadcasts that wait for their positions; None until the store answers late.
        recordings: For each slice that is being read, what was emitted since it was asked for; None
            if no slice is being read.
    """

    __slots__ = ("_key", "_members", "_name", "_store", "clock", "emission", "log", "recordings")

    def __init__(
        self, name: str, key: str, store: HistoryStore, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._key = key
        self._store = store
        self.clock: Callable[[], float] = clock
        # Only while there are members: a history without members may expire.
        self.log: ChannelLog | None = None
        self._members = 0
        self.emission: Emission[Any] | None = None
        self.recordings: list[list[EmittedMessage]] | None = None

    def open(self) -> ChannelLog:
        """Return the log; start a new one if there is none."""
        log = self.log
        return self._store.open(self._key, self.clock()) if log is None else log

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

    # --- for joins ----------------------------------------------------------------------------

    def read(
        self, since: Position | None, latest: int | None
    ) -> HistorySlice | Awaitable[HistorySlice]:
        """Return what a member may recover; see `ChannelLog.read`.

        Raises:
            UsageError: `latest` is negative.
        """
        if latest is not None and latest < 0:
            raise UsageError(f"accept: history is a number of messages, and not {latest}.")
        now = self.clock()
        self._store.tidy(now)
        return self.open().read(since, self._latest(latest), now)

    def find_start(
        self,
        found: HistorySlice,
        since: Position | None,
        user_id: str,
        latest: int | None,
        *,
        is_user_known: bool,
    ) -> Splice:
        """Find the position after which a member's frames begin.

        Args:
            latest: How many messages a member gets if it recovers nothing. None: as the history's
                options say, which is 1 with `size=1`, else 0.
        """
        latest = self._latest(latest)
        return splice(found, since, user_id, is_user_known=is_user_known, latest=latest)

    def _latest(self, latest: int | None) -> int:
        return int(self._store.options.size == 1) if latest is None else latest

    # --- while a store answers late ---------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[list[EmittedMessage]]:
        """Record the messages that are emitted while a slice is read."""
        recorded: list[EmittedMessage] = []
        self.recordings = [*(self.recordings or ()), recorded]
        try:
            yield recorded
        finally:
            # By identity: another may be equal.
            self.recordings = [each for each in self.recordings if each is not recorded] or None

    def record(self, emitted: EmittedMessage) -> None:
        """Record a message that is emitted now."""
        for recorded in self.recordings or ():
            recorded.append(emitted)

    # --- for the application ------------------------------------------------------------------

    def find(
        self, since: Position | None, limit: int
    ) -> HistorySlice | Awaitable[HistorySlice] | None:
        """Return what `messages` needs; None if there is no history.

        Raises:
            UsageError: `limit` is negative.
        """
        self.check_limit(limit)
        # `find`, not `open`: a client whose join is refused must not make a history.
        now = self.clock()
        log = self._store.find(self._key, now) if self.log is None else self.log
        return None if log is None else log.read(since, limit, now)

    @staticmethod
    def check_limit(limit: int) -> None:
        """Refuse a negative number of messages.

        Raises:
            UsageError: It is negative.
        """
        if limit < 0:
            raise UsageError(f"history: limit is a number of messages, and not {limit}.")

    def messages(
        self, found: HistorySlice, since: Position | None, limit: int
    ) -> list[ServerMessage] | None:
        """Return the last messages, or the first after `since`; None if some are lost."""
        if since is None:
            offset = found.before_last(limit)
        elif splice(found, since, "", is_user_known=True, is_bounded=False).verdict is (
            Verdict.RECOVERED
        ):
            offset = since.offset
        else:
            return None
        kept = zip(found.after(offset), range(limit), strict=False)
        return [self._message(found.epoch, each) for each, _ in kept]

    def _message(self, epoch: str, kept: KeptMessage) -> ServerMessage:
        return ServerMessage(
            ServerActions.BROADCAST,
            kept.event,
            self._name,
            kept.request_id,
            decoded(kept.payload),
            Position(epoch, kept.offset),
        )


def decoded(payload: bytes) -> Payload:
    """Decode a kept payload."""
    value = load_json(payload)
    if not isinstance(value, dict):
        raise TypeError(f"A history gave a payload that is no object: {value!r}.")
    return value
