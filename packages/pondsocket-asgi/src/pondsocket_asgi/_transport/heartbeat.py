"""The clock of an app's connections: one task that calls all of them once a second.

A timer for each connection, or a time limit around each write, would cost more than the writes. So
writers only count their writes, and this task looks at the counts. No task may outlive the
connections, so the task runs in the task group of one of them, and moves to another when that ends.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeAlias

import anyio
import anyio.lowlevel
from pondsocket import Options
from pondsocket.adapter import get_log

logger = get_log("pondsocket.asgi.transport")

BEAT_SECONDS: Final = 1.0
# So that limits of less than a few seconds, as in tests, are kept with some precision.
_BEATS_PER_LIMIT: Final = 4
# As many calls in one turn of the loop. Mostly a call takes 0.6 us. But many connections that came
# together are due for a heartbeat together, and to write one takes 30 us.
BEATS_PER_TURN: Final = 250


class Beating(Protocol):
    """An object that is called once an interval."""

    def beat(self, now: float, interval: float) -> None:
        """Act on the time. The last call was `interval` seconds ago, or a little more."""
        ...


class Starter(Protocol):
    """The tasks of a connection, as far as they are started here."""

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> object:
        """Start a task in a copy of the caller's context."""
        ...


_Group: TypeAlias = dict[Beating, Starter]
"""Those that are called in one turn of the loop."""


class QuietClock:
    """How long one connection has written nothing, and what the server answered meanwhile.

    Args:
        limit: After how many seconds a heartbeat is due; None: never.
    """

    __slots__ = ("_least_unsent", "_limit", "_since", "_writes")

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._since = 0.0
        self._writes = -1
        self._least_unsent: int | None = None

    def seconds(self, now: float, writes: int) -> float:
        """Return for how many seconds. 0 if `writes`, the number of writes so far, has changed."""
        if writes != self._writes:
            self._writes = writes
            self._since = now
            self._least_unsent = None
        return now - self._since

    def growth(self, unsent: int) -> int:
        """Return by how much what the peer has not taken has grown, without a write of ours.

        Args:
            unsent: How many bytes that is now.
        """
        least = self._least_unsent
        if least is None or unsent < least:
            self._least_unsent = least = unsent
        return unsent - least

    def is_heartbeat_due(self, quiet: float, interval: float) -> bool:
        """Return whether to write a heartbeat after `quiet` seconds."""
        # The last write was up to one interval before it was seen, and the next call may come too
        # late. So up to two intervals early: proxies keep their time limits exactly.
        return self._limit is not None and quiet >= self._limit - 2 * interval

    def restart(self, now: float) -> None:
        """Begin again, as if something had been written."""
        self._since = now


class Heartbeat:
    """Calls `beat` on every object that was added, about once a second.

    Args:
        also: Called after each round of `beat`, while there are connections.
    """

    def __init__(self, options: Options, also: Callable[[], object] | None = None) -> None:
        limits = (options.sse_keepalive_seconds, options.write_timeout, options.heartbeat_seconds)
        shortest = min(limit for limit in limits if limit is not None)
        self._interval = min(BEAT_SECONDS, shortest / _BEATS_PER_LIMIT)
        self._also = also
        # In the order of `add`, and in groups, in that order too. No list of all that are to be
        # called is made: that touches each of them, and the memory of 20,000 idle connections is in
        # no cache of the processor, so that the loop stood still for 3 to 50 ms
        # (`python -m tests.benchmarks`, "The longest stop of the event loop").
        self._beating: dict[Beating, _Group] = {}
        self._groups: list[_Group] = []
        self._ahead: list[_Group] = []  # in this round, the next one last
        self._called: _Group | None = None  # in this round, the last one
        # The oldest hosts the task: a connection that has lasted longest is the least likely to
        # end.
        self._host: Beating | None = None
        self._due = 0.0
        self._scope: anyio.CancelScope | None = None

    def add(self, beating: Beating, tasks: Starter) -> None:
        """Add an object; `tasks` may have to host the clock's task until `remove`."""
        if not self._groups or len(self._groups[-1]) >= BEATS_PER_TURN:
            self._groups.append({})
        group = self._beating[beating] = self._groups[-1]
        group[beating] = tasks
        if self._host is None:
            self._due = anyio.current_time() + self._interval
            self._start(beating)

    def remove(self, beating: Beating) -> None:
        """Remove an object, if it was added."""
        group = self._beating.pop(beating, None)
        if group is not None:
            del group[beating]
        if self._host is beating:
            self._host = None
            if self._scope is not None:
                self._scope.cancel()
                self._scope = None  # a scope keeps all scopes around it alive
            if self._beating:
                self._start(next(oldest for group in self._groups for oldest in group))
            else:
                self._groups.clear()
                self._ahead.clear()

    def _start(self, host: Beating) -> None:
        scope = anyio.CancelScope()
        self._beating[host][host].start_soon(self._run, scope)
        self._host, self._scope = host, scope

    async def _run(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                # The time and the round are the clock's, not the host's: if hosts followed each
                # other within less than an interval, `beat` would never be called.
                if self._ahead:
                    await anyio.lowlevel.checkpoint()
                else:
                    await anyio.sleep_until(self._due)
                    self._begin_round()
                self._call_some()
                if not self._ahead and self._also is not None:
                    try:
                        self._also()
                    except Exception:  # boundary: what the app does each second
                        logger.exception("A check of the connections failed.")

    def _begin_round(self) -> None:
        self._due = anyio.current_time() + self._interval
        self._groups = [group for group in self._groups if group]
        self._ahead = self._groups[::-1]
        self._called = None

    def _call_some(self) -> None:
        if not self._ahead:
            return  # all have ended since this task was woken
        now = anyio.current_time()
        group = self._ahead.pop()
        for beating in list(group):
            if beating not in group:
                continue  # it was removed meanwhile
            try:
                beating.beat(now, self._interval)
            except Exception:  # boundary: one connection; this task serves all of them
                logger.exception("The check of a connection failed.")
        self._unite(group)

    def _unite(self, group: _Group) -> None:
        """Put a group that has been called into the one before it, if there is room in that."""
        before = self._called
        if before is None or len(before) + len(group) > BEATS_PER_TURN:
            self._called = group
            return
        for beating in group:
            self._beating[beating] = before
        before.update(group)
        group.clear()
