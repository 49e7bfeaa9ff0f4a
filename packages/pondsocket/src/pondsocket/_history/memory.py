"""The histories of a lobby's channels in memory; they outlive the channels themselves.

A channel ends with its last member; its history stays under its key. No timer ends a history. Each
access checks the history's age, and now and then also that of some others; so does each connect,
join and leave.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from .budget import HistoryBudget
from .log import History, HistoryLog

# Each history is checked about once a minute; 500 at a time take about 0.2 ms.
_SWEEP_SECONDS: Final = 1.0
_SWEEPS_PER_ROUND: Final = 64
_LEAST_PER_SWEEP: Final = 64
_MOST_PER_SWEEP: Final = 500
# An empty history takes half a kilobyte, and every client that may join can make one.
_MOST: Final = 100_000


class MemoryStore:
    """The histories of a lobby, by the key of the channel. The caller passes the time.

    Args:
        new_epoch: Makes an epoch that no history had before.
        most: How many are kept; beyond that, only those whose channels have members.
    """

    __slots__ = ("_budget", "_logs", "_most", "_new_epoch", "_round", "_sweep_at", "options")

    def __init__(
        self, options: History, new_epoch: Callable[[], str], *, most: int = _MOST
    ) -> None:
        self.options = options
        self._new_epoch = new_epoch
        self._most = most
        self._logs: dict[str, HistoryLog] = {}
        self._budget: HistoryBudget[HistoryLog] = HistoryBudget(options.max_total_bytes)
        # The keys, in the order in which they will be checked.
        self._round: deque[str] = deque()
        self._sweep_at = 0.0

    def open(self, key: str, now: float) -> HistoryLog:
        """Return the history of a channel; start a new one if there is none or it has expired."""
        self.tidy(now)
        log = self._logs.get(key)
        if log is None:
            log = self._new_log(key, now)
            self._round.append(key)
            if len(self._logs) > self._most:
                self._make_room()
        elif log.is_over(now):
            log.cut_to(0)
            log = self._new_log(key, now)
        log.expire(now)
        return log

    def _new_log(self, key: str, now: float) -> HistoryLog:
        log = HistoryLog(self.options, self._new_epoch(), now, self._budget)
        self._logs[key] = log
        return log

    @property
    def byte_count(self) -> int:
        """How many bytes all of them take, for `History.max_total_bytes`."""
        return self._budget.taken

    def find(self, key: str, now: float) -> HistoryLog | None:
        """Return the history of a channel; None if there is none."""
        log = self._logs.get(key)
        if log is None or log.is_over(now):
            return None
        log.expire(now)
        return log

    def is_new(self, key: str, now: float) -> bool:
        """Return whether there is no history of a channel."""
        return self.find(key, now) is None

    def tidy(self, now: float) -> None:
        """Call `sweep`, at most once a second."""
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self.sweep(now)

    def sweep(self, now: float) -> None:
        """Check some, in turn: drop messages that are too old, and histories that are over."""
        count = max(len(self._round) // _SWEEPS_PER_ROUND, _LEAST_PER_SWEEP)
        for _ in range(min(count, _MOST_PER_SWEEP, len(self._round))):
            log = self._logs[self._round[0]]
            if log.is_over(now):
                self._drop_first()
            else:
                log.expire(now)
                self._round.rotate(-1)

    def _make_room(self) -> None:
        # Not the newest, which is last: the caller is about to use it.
        for _ in range(min(_LEAST_PER_SWEEP, len(self._round) - 1)):
            if not self._logs[self._round[0]].is_in_use:
                self._drop_first()
                return
            self._round.rotate(-1)

    def _drop_first(self) -> None:
        self._logs.pop(self._round.popleft()).cut_to(0)

    def __len__(self) -> int:
        return len(self._logs)
