"""Pings for all connections of a server, by one timer in place of two for each connection.

Time is cut into steps. Each connection stands in the step in which it is due.
"""

import asyncio
from collections.abc import Hashable
from typing import Final, Protocol

from pondsocket.adapter import get_log

_log: Final = get_log("pondsocket.asgi.fastlane")
# A step is at most this long, and at most this part of an interval: a ping comes so much too early.
_SECONDS: Final = 1.0
_PART: Final = 0.05
# So that one step, in which many clients may be due, does not stop the event loop: 5 us each.
_MOST_AT_ONCE: Final = 500


class Pinged(Hashable, Protocol):
    """A connection whose client is pinged.

    Attributes:
        step: The step in which it is due; set by `Keepalive` alone.
    """

    step: int

    def ping_or_end(self) -> None:
        """Ping the client, or end the connection if it has not answered the last ping."""
        ...


class Keepalive:
    """Calls connections when they are due.

    Args:
        interval: After how many seconds without a ping to send one.
        timeout: After how many seconds without an answer the connection ends. None: never.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval: float, timeout: float | None
    ) -> None:
        self.interval: Final = interval
        self.timeout: Final = timeout
        shortest = min(interval, timeout) if timeout else interval
        self._step = min(_SECONDS, shortest * _PART)
        self._loop = loop
        self._due: dict[int, set[Pinged]] = {}
        self._next = 0
        self._timer: asyncio.Handle | None = None
        self._is_calling = False

    def expect_ping(self, connection: Pinged) -> None:
        """Call a connection after the interval, or up to one step before."""
        self._put(connection, int((self._loop.time() + self.interval) / self._step))

    def expect_answer(self, connection: Pinged) -> None:
        """Call a connection after the time for an answer, not before; else after the interval."""
        if self.timeout is None:
            self.expect_ping(connection)
        else:
            self._put(connection, int((self._loop.time() + self.timeout) / self._step) + 1)

    def seconds_left(self, connection: Pinged) -> float:
        """Return after how many seconds a connection is due."""
        return max(0.0, connection.step * self._step - self._loop.time())

    def remove(self, connection: Pinged) -> None:
        """Forget a connection."""
        due = self._due.get(connection.step)
        if due is not None:
            due.discard(connection)
            if not due:
                del self._due[connection.step]
                if not self._due and self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def _put(self, connection: Pinged, step: int) -> None:
        self.remove(connection)
        connection.step = step
        due = self._due.get(step)
        if due is None:
            due = self._due[step] = set()
        due.add(connection)
        if self._timer is None and not self._is_calling:
            self._next = self._now()
            self._wait()

    def _now(self) -> int:
        return int(self._loop.time() / self._step)

    def _wait(self) -> None:
        self._timer = self._loop.call_at(self._next * self._step, self._call)

    def _call(self) -> None:
        """Call those that are due."""
        self._timer = None
        self._is_calling = True
        left = _MOST_AT_ONCE
        now = self._now()
        while self._next <= now and left:
            due = self._due.get(self._next)
            if not due:
                self._next += 1
                continue
            left -= 1
            connection = next(iter(due))
            self.remove(connection)
            try:
                connection.ping_or_end()
            except Exception:  # noqa: BLE001 - boundary: one connection; this serves all of them
                _log.exception("A ping failed.")
        self._is_calling = False
        if not left:
            self._timer = self._loop.call_soon(self._call)
        elif self._due:
            self._wait()
