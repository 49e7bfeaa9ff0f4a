"""Django's database connections in worker threads.

Django keeps one connection for each thread and database, and closes those that are too old or
broken when one of its own requests begins and ends. A call of a plain function is no such request,
so the same is done around it. Nothing is done in a process that has not imported `django.db`.
"""

import sys
import threading
from typing import Any, Final
from weakref import finalize

from pondsocket._log import get_log

_log: Final = get_log("pondsocket.handlers")


def close_old_connections() -> None:
    """Close this thread's connections that are broken or older than `CONN_MAX_AGE`.

    Those that stay open are closed when the thread ends.
    """
    # Once for each call of a plain function: without Django it is this line alone.
    if (django := sys.modules.get("django.db")) is None:
        return
    opened = _of_this_thread(django)
    for connection in opened:
        connection.queries_log.clear()  # filled where DEBUG is set
        _attempt(connection.close_if_unusable_or_obsolete)
    if opened or _this_thread.opened:
        _this_thread.opened[:] = [each for each in opened if each.connection is not None]


def close_connections() -> None:
    """Close all connections of this thread."""
    if (django := sys.modules.get("django.db")) is not None:
        _close(_of_this_thread(django))


def _of_this_thread(django: Any) -> list[Any]:
    connections = getattr(django, "connections", None)  # None: another thread is importing it
    # Without settings there is no connection yet, and to ask for one would raise.
    if connections is None or not sys.modules["django.conf"].settings.configured:
        return []
    opened: list[Any] = connections.all(initialized_only=True)
    return opened


def _close(opened: list[Any]) -> None:
    for connection in opened:
        _attempt(connection.close)


def _attempt(close: Any) -> None:
    try:
        close()
    except Exception:  # noqa: BLE001 - boundary: a driver of a database
        # A database that has gone may not let a connection close. Django drops it all the same, and
        # the message has its result.
        _log.warning("A database connection could not be closed in order.", exc_info=True)


class _Token:
    """What ends with its thread."""


class _ThisThread(threading.local):
    """The connections that this thread leaves open between its calls."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self._token = _Token()
        # Called in the ending thread, as Django demands. At the end of the process it would be
        # another thread, and the operating system closes the sockets.
        finalize(self._token, _close, self.opened).atexit = False


_this_thread: Final = _ThisThread()
