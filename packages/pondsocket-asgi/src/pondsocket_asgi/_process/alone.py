"""Whether this process alone serves a pond that has no backplane.

Several workers of one server would each have channels of their own, and a client would see the
others that reached the same worker. It looks like messages that are lost at random.

The first process that serves a request takes a name that only one process can have: on Linux that
of an abstract socket, which the kernel frees with the process; elsewhere the lock of a file. It is
made of the port and of the endpoints. Another one that cannot take it waits, because it may be the
successor in a restart; then it says what to write. A server that reloads has one process at a time.
"""

import errno
import hashlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Protocol

from pondsocket.adapter import get_log

_log: Final = get_log("pondsocket.asgi.workers")
# A process that ends gives the name up when it begins to drain.
PATIENCE: Final = 15.0
# Of 107 bytes that the name of a socket may have.
_DIGEST: Final = 16


class _Closes(Protocol):
    def close(self) -> None: ...


class _Names:
    """The names that this process has, by how many of its apps."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[_Closes, int]] = {}

    def take(self, name: str) -> bool | None:
        """Take a name. False: another process has it; None: it cannot be known."""
        if name in self._held:
            held, count = self._held[name]
            self._held[name] = held, count + 1
            return True
        try:
            held = _bind(name) if sys.platform == "linux" else _lock(name)
        except OSError as error:
            is_taken = error.errno in (errno.EADDRINUSE, errno.EAGAIN)
            return False if is_taken else None
        except ImportError:  # Windows has no fcntl
            return None
        self._held[name] = held, 1
        return True

    def give_up(self, name: str) -> None:
        """Give a name up that was taken."""
        if name not in self._held:
            return  # before a fork
        held, count = self._held.pop(name)
        if count > 1:
            self._held[name] = held, count - 1
        else:
            held.close()

    def forget(self) -> None:
        """Close what a fork has copied: the name is that of the parent."""
        for held, _ in self._held.values():
            with suppress(OSError):
                held.close()
        self._held.clear()


def _bind(name: str) -> _Closes:
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        taken.bind(f"\0{name}")
    except BaseException:
        taken.close()
        raise
    return taken


def _lock(name: str) -> _Closes:
    import fcntl

    owner = os.getuid() if hasattr(os, "getuid") else ""
    path = Path(tempfile.gettempdir()) / f"{name.replace(':', '-')}-{owner}.lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(path, flags, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


names: Final = _Names()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=names.forget)


class Alone:
    """Finds out, for one app, whether another process serves the same endpoints on the same port.

    Args:
        paths: The patterns of the endpoints.

    Attributes:
        is_open: Whether something is still to be found out.
        has_others: Whether there is another process; False as long as it is not known.
    """

    def __init__(
        self, paths: Callable[[], Iterable[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_open = True
        self.has_others = False
        self._paths = paths
        self._clock = clock
        self._name = ""
        self._port: object = None
        self._refused_at: float | None = None
        self._is_held = False
        self._is_404_told = False

    def meet(self, server: Any) -> None:
        """Take the name, or look whether it is free by now. To be called with each request.

        Args:
            server: That of the ASGI scope: where the request has arrived.
        """
        if not self._name:
            self._port = _port_of(server)
            if self._port is None:
                self.is_open = False
                return
            text = "\n".join(self._paths()).encode()
            digest = hashlib.sha256(text).hexdigest()[:_DIGEST]
            self._name = f"pondsocket:{self._port}:{digest}"
        self.check()

    def check(self) -> None:
        """Look again. To be called now and then."""
        if not self.is_open or not self._name:
            return
        is_taken = names.take(self._name)
        if is_taken is not False:
            self._is_held = bool(is_taken)
            self.is_open = False
        elif self._refused_at is None:
            self._refused_at = self._clock()
        elif self._clock() - self._refused_at >= PATIENCE:
            self.is_open = False
            self.has_others = True
            self._tell()

    def _tell(self) -> None:
        # One of several workers says it: the first that takes this name.
        if names.take(f"{self._name}:told") is False:
            return
        _log.error(
            "Another process serves the same endpoints (%s), and this pond has no backplane: each"
            " process has channels of its own, so that its clients do not see those of the others."
            " Run one process (no --workers, or --workers 1), or let all of them share their"
            ' channels: PondSocket(backplane=RedisBackplane("redis://…")).',
            f"port {self._port}" if isinstance(self._port, int) else "one address",
        )

    def note_unknown(self) -> None:
        """Note that a client has posted to a connection that this process does not know."""
        if self.has_others and not self._is_404_told:
            self._is_404_told = True
            _log.error(
                "A client has posted to an event stream that this process does not have, and got"
                " 404. Another process on the same port may have it: without a backplane, all"
                " requests of a client must reach the process that has its stream."
            )

    def release(self) -> None:
        """Give the name up, for the process that comes next. The next request takes it again."""
        if self._is_held:
            self._is_held = False
            names.give_up(self._name)
            self.is_open = True
            self._refused_at = None


def _port_of(server: Any) -> object:
    """Return the port, or a digest of the path of a unix socket; None: this is no real server."""
    try:
        host, port = server
    except (TypeError, ValueError):
        return None
    if port is None:
        return hashlib.sha256(str(host).encode()).hexdigest()[:_DIGEST]
    try:
        ip_address(host)  # the drivers of tests have names
        return int(port)  # granian has it as a text
    except (TypeError, ValueError):
        return None
