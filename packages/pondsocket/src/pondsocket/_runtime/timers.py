"""Timers of a channel, which must also work if no task outlives a connection.

They run in the task group of `async with pond`. A mounted application often has none: then they
run in a task of a member's connection, and move to another member's when that one ends. If no
member is left, what is due later is done at once.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Final

import anyio

from pondsocket._log import get_log

from .loop import failure_of
from .tasks import Work

_log: Final = get_log("pondsocket.timers")

Spawn = Callable[[Work], object]


class Timers:
    """Runs work at given times, while there is a task that can wait.

    Args:
        find_host: Returns a function that starts a task, which may be cancelled at any time; or
            None if no task can be started.
    """

    __slots__ = ("_count", "_due", "_find_host", "_running", "_sleep")

    def __init__(self, find_host: Callable[[], Spawn | None]) -> None:
        self._find_host = find_host
        self._due: list[tuple[float, int, Work]] = []
        self._count = itertools.count()
        self._running = False
        self._sleep: anyio.CancelScope | None = None

    def after(self, seconds: float, work: Work) -> bool:
        """Run `work` after `seconds`. False if no task can wait: the caller must do it now."""
        entry = (anyio.current_time() + seconds, next(self._count), work)
        if self._running:
            heapq.heappush(self._due, entry)
        else:
            spawn = self._find_host()
            if spawn is None:
                return False
            self._running = True
            heapq.heappush(self._due, entry)
            spawn(self._wait)
        if self._sleep is not None and self._due[0] is entry:
            self._sleep.cancel()  # it sleeps until a later one
        return True

    async def _wait(self) -> None:
        try:
            while self._due:
                wait = self._due[0][0] - anyio.current_time()
                if wait > 0:
                    with anyio.CancelScope() as self._sleep:
                        await anyio.sleep(wait)
                    self._sleep = None
                else:
                    await self._do_first()
        finally:
            self._sleep = None
            self._running = False
            if self._due:
                await self._hand_on()

    async def _hand_on(self) -> None:
        spawn = self._find_host()
        if spawn is not None:
            self._running = True
            spawn(self._wait)
            return
        with anyio.CancelScope(shield=True):
            while self._due:
                await self._do_first()

    async def _do_first(self) -> None:
        work = heapq.heappop(self._due)[2]
        try:
            await work()
        except BaseException as error:  # noqa: BLE001 - boundary: the host, perhaps the whole pond
            _log.error("What was due in a channel failed.", exc_info=failure_of(error))
