"""The clock of an app's connections: one task a second for all, whatever their number.

A timer for each connection, or a time limit around each write, would cost more than the writes. So
outboxes only note that something happened, and are asked now and then. Nobody outlives the
connections, so one of them hosts the task, and hands it on when it ends.
"""

from collections.abc import Callable
from typing import Final, Protocol

import anyio
import anyio.abc
from pondsocket import Options

BEAT_SECONDS: Final = 1.0
# So that limits of less than a few seconds, as tests have them, are kept with some precision.
_BEATS_PER_LIMIT: Final = 4


class Beating(Protocol):
    """What wants to know of time."""

    def beat(self, now: float, interval: float) -> None:
        """So much time has passed since the last one, or a little more."""
        ...


class Pulse:
    """Calls `beat` on everything that was added, about once a second.

    Args:
        also: Called at every beat, while there are connections.
    """

    def __init__(self, options: Options, also: Callable[[], object] | None = None) -> None:
        limits = (options.sse_keepalive_seconds, options.write_timeout, options.heartbeat_seconds)
        shortest = min(limit for limit in limits if limit is not None)
        self._interval = min(BEAT_SECONDS, shortest / _BEATS_PER_LIMIT)
        self._also = also
        # In the order in which they came: the oldest is the host, as those who have stayed longest
        # are the least likely to go.
        self._beating: dict[Beating, anyio.abc.TaskGroup] = {}
        self._host: Beating | None = None
        self._due = 0.0
        self._scope: anyio.CancelScope | None = None

    def add(self, beating: Beating, tasks: anyio.abc.TaskGroup) -> None:
        """Begin; `tasks` may be asked to host the clock until `remove`."""
        self._beating[beating] = tasks
        if self._host is None:
            self._due = anyio.current_time() + self._interval
            self._start(beating)

    def remove(self, beating: Beating) -> None:
        """End."""
        del self._beating[beating]
        if self._host is beating:
            self._host = None
            if self._scope is not None:
                self._scope.cancel()
                self._scope = None  # it keeps the whole chain of scopes around it
            if self._beating:
                self._start(next(iter(self._beating)))

    def _start(self, host: Beating) -> None:
        self._host = host
        self._scope = anyio.CancelScope()
        self._beating[host].start_soon(self._run, self._scope)

    async def _run(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                # Of the pulse, not of its host: where one follows upon the other within less than
                # a beat, there would never be one.
                await anyio.sleep_until(self._due)
                now = anyio.current_time()
                self._due = now + self._interval
                for beating in list(self._beating):
                    beating.beat(now, self._interval)
                if self._also is not None:
                    self._also()
