"""A store of histories that answers late: when, and in which order, the test says."""

import time
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
from pondsocket import History, Position
from pondsocket._history.memory import MemoryStore
from pondsocket._history.slice import Audience, HistorySlice

from tests.core.histories import build_with_history
from tests.core.ponds import PondSetup, accept_join

T = TypeVar("T")


class Pending(Generic[T]):
    """One call that is under way. `apply` is when the store does it, `answer` when that is known.

    Attributes:
        shown: The payload of an append.
        result: What the store has done; None: nothing yet.
    """

    def __init__(self, act: Callable[[], T], shown: bytes = b"") -> None:
        self.shown = shown
        self.result: T | None = None
        self.is_cancelled = False
        self._act = act
        self._answered = anyio.Event()
        self._error: Exception | None = None

    def apply(self) -> T:
        """Do what was asked for; only once."""
        if self.result is None:
            self.result = self._act()
        return self.result

    def answer(self) -> None:
        """Give the caller the answer; nothing if it has one, or wants none any more."""
        if not self._answered.is_set() and not self.is_cancelled:
            self.apply()
            self._answered.set()

    def fail(self, error: Exception | None = None) -> None:
        """Give the caller an error instead, whether it was done or not."""
        self._error = error or ConnectionError("the store is away")
        self._answered.set()

    async def wait(self) -> T:
        """Wait for the answer, as the caller does."""
        try:
            await self._answered.wait()
        except BaseException:
            self.is_cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return self.apply()


class LateLog:
    """The history of one channel in a `LateStore`."""

    def __init__(self, store: "LateStore", name: str) -> None:
        self._store = store
        self._name = name
        self._audiences: dict[Position, Audience | None] = {}
        self.members = 0

    def append(
        self,
        event: str,
        request_id: str,
        payload: bytes,
        now: float,
        audience: Audience | None = None,
    ) -> Position | Awaitable[Position]:
        pending = self.pending_append(event, request_id, payload, now, audience)
        if self._store.appends_at_once:
            return pending.apply()
        self._store.appends.append(pending)
        return pending.wait()

    def pending_append(
        self,
        event: str,
        request_id: str,
        payload: bytes,
        now: float,
        audience: Audience | None = None,
    ) -> Pending[Position]:
        """Return an append that is not answered yet."""

        def act() -> Position:
            log = self._store.memory.open(self._name, now)
            position = log.append(event, request_id, payload, now, audience)
            self._audiences[position] = audience
            return position

        return Pending(act, payload)

    def read(
        self, since: Position | None, latest: int, now: float, /
    ) -> HistorySlice | Coroutine[Any, Any, HistorySlice]:
        pending = Pending(lambda: self._copy(since, latest, now))
        if self._store.reads_at_once:
            return pending.apply()
        self._store.reads.append(pending)
        return pending.wait()

    def _copy(self, since: Position | None, latest: int, now: float) -> HistorySlice:
        """Return no more than was asked for."""
        log = self._store.memory.open(self._name, now)
        start = log.before_last(latest)
        if since is not None and since.epoch == log.epoch:
            start = min(start, max(since.offset, log.first - 1))
        found = HistorySlice(log.epoch, start)
        for kept in log.after(start):
            audience = self._audiences[Position(log.epoch, kept.offset)]
            found.add(kept.event, kept.request_id, kept.payload, audience)
        return found

    def enter(self) -> None:
        self.members += 1

    def leave(self, now: float) -> None:
        self.members -= 1


class LateStore:
    """The histories of a lobby, kept in memory, behind calls that the test answers.

    Attributes:
        appends, reads: The calls, oldest first.
        appends_at_once, reads_at_once: Whether calls are answered at once from now on.
    """

    def __init__(self, options: History) -> None:
        self.options = options
        self.appends: list[Pending[Position]] = []
        self.reads: list[Pending[HistorySlice]] = []
        self.appends_at_once = self.reads_at_once = False
        self._logs: dict[str, LateLog] = {}
        self._epochs = count(1)
        self.memory = self._new_memory()

    def _new_memory(self) -> MemoryStore:
        return MemoryStore(self.options, lambda: f"epoch{next(self._epochs)}")

    def open(self, name: str, now: float) -> LateLog:
        return self._logs.setdefault(name, LateLog(self, name))

    def find(self, name: str, now: float) -> LateLog | None:
        return self._logs.get(name)

    def is_new(self, name: str, now: float) -> bool:
        return self.find(name, now) is None

    def tidy(self, now: float) -> None:
        """Do nothing: the memory tidies up by itself."""

    # --- for the test -------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Lose all that is kept: what is applied from now on is of another epoch."""
        self.memory = self._new_memory()

    def append_elsewhere(self, name: str) -> Position:
        """Append a message that is not sent here, as another node would: a position is skipped."""
        log, now = self.open(name, 0.0), time.monotonic()
        return log.pending_append("said", "elsewhere", b'{"n":0}', now).apply()

    def answer_all(self) -> None:
        """Answer all calls that are under way, oldest first."""
        for append in self.appends:
            append.answer()
        for read in self.reads:
            read.answer()

    async def asked(self, *, appends: int = 0, reads: int = 0) -> None:
        """Wait until there have been so many calls."""
        with anyio.fail_after(2):
            while len(self.appends) < appends or len(self.reads) < reads:
                await anyio.lowlevel.checkpoint()


def build_late(join: Any = accept_join, **options: Any) -> tuple[PondSetup, LateStore]:
    """Return a pond as `build_with_history` makes it, and its store, which answers late."""
    setup = build_with_history(join, **options)
    assert setup.lobby.history is not None
    store = LateStore(setup.lobby.history)
    setup.lobby.history_store = store
    return setup, store
