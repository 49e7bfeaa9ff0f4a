"""Broadcasts in a process that serves no clients, such as a task of Celery: they reach none.

Such a process cannot be told from a server that has only begun to start. So it is told later: by a
broadcast half a minute after the first one, or at the end of the process; and not at all once a
connection has come, or a lifespan has begun.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import Final
from weakref import ref

from pondsocket._log import get_log

_log: Final = get_log("pondsocket.server")
# A server has entered its lifespan by then. Without one it may have no client yet.
PATIENCE: Final = 30.0


class _Forks:
    """Whether this process has made others, which may serve what it has loaded."""

    has_forked = False

    def note(self) -> None:
        """Note a fork, in the parent."""
        self.has_forked = True

    def forget(self) -> None:
        """Note a fork, in the child."""
        self.has_forked = False


forks: Final = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=forks.note, after_in_child=forks.forget)


class Unserved:
    """The broadcasts of a pond as long as it is not served."""

    __slots__ = ("__weakref__", "_at_exit", "_clock", "_first_at", "_is_over")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_at = 0.0
        self._is_over = False
        self._at_exit: Callable[[], None] | None = None

    def note(self) -> None:
        """Note a broadcast."""
        if self._is_over:
            return
        if self._at_exit is None:
            self._first_at = self._clock()
            found = ref(self)

            def tell_at_exit() -> None:
                unserved = found()
                # A test has mostly no server, and a parent's children may have served.
                if unserved is not None and not forks.has_forked and "pytest" not in sys.modules:
                    unserved.tell()

            self._at_exit = tell_at_exit
            atexit.register(tell_at_exit)
        elif self._clock() - self._first_at >= PATIENCE:
            self.tell()

    def tell(self) -> None:
        """Log it, once."""
        if self._is_over:
            return
        self.end()
        _log.warning(
            "This process has sent broadcasts or pushes, and has served no client: its pond"
            " reaches the connections of this process alone. A Celery worker, a scheduled job or a"
            " script sends through a Publisher,"
            ' `Publisher("redis://…").broadcast(path, channel, event, payload)`, to servers with'
            ' `PondSocket(backplane=RedisBackplane("redis://…"))`. If this is a server, all is'
            " well: it has had no client yet."
        )

    def end(self) -> None:
        """Note nothing any more: the pond is served."""
        self._is_over = True
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None
