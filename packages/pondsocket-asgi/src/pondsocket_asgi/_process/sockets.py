"""How to end the connection of a peer that no longer reads, by the operating system.

To cancel the task that writes to it, or to close its connection, frees nothing: servers wait until
the peer has read what they hold for it, and it never does. Two things end it on every server. Both
look through this process's own descriptors, which only Linux lists in a reliable way:

* a reset of the one connection, found by its two addresses;
* the kernel's limit on how long a peer may acknowledge nothing. It is set on the listening
  sockets, from which every connection inherits it; therefore it is opt-in.
"""

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, TypeAlias

import anyio
from anyio.lowlevel import RunVar
from pondsocket.adapter import get_log

from pondsocket_asgi._scope import Scope

logger = get_log("pondsocket.asgi.transport")

OWN_DESCRIPTORS: Final = "/proc/self/fd"
# SO_LINGER of zero seconds: a close resets the connection and drops what is queued.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
# A peer that reads at all acknowledges something within this time, over any network.
HURRY_SECONDS: Final = 5
_FAMILIES: Final = {socket.AF_INET, socket.AF_INET6}
# To look through the descriptors takes two. Where none is left, the connections that are to be
# reset may be what holds them all.
_ALL_IN_USE: Final = {errno.EMFILE, errno.ENFILE}
_ATTEMPTS: Final = 3
_ATTEMPT_SECONDS: Final = 1.0


class Address(NamedTuple):
    """A host and a port."""

    host: IPv4Address | IPv6Address
    port: int


class Line(NamedTuple):
    """The two ends of one connection."""

    peer: Address
    own: Address


Lines: TypeAlias = frozenset[Line]


async def reset_connection(scope: Scope) -> bool:
    """Reset the connection of a scope. False if its descriptor was not found.

    It is not found on a UNIX socket, on systems other than Linux, and if the client's address in
    the scope comes from a proxy's headers.
    """
    return await _ask(_resets, reset, scope)


async def hurry_connection(scope: Scope) -> bool:
    """Have the kernel drop this one peer if it acknowledges nothing for `HURRY_SECONDS`.

    False as for `reset_connection`.
    """
    return await _ask(_hurries, hurry, scope)


async def limit_unacknowledged(seconds: float) -> bool:
    """Have the kernel drop peers that acknowledge nothing for so long. False if it cannot.

    It is set on the listening sockets of this process, and on the connections that they have
    accepted. One that waits to be accepted at that moment gets no limit. A stricter limit stays.

    Raises:
        OSError, RuntimeError: No descriptor or no thread is left for it now.
    """
    if sys.platform == "linux":
        milliseconds = max(1, round(seconds * 1000))
        if await anyio.to_thread.run_sync(_limit, milliseconds):
            return True
        why = "this process listens on no TCP socket"
    else:
        why = "it is an option of Linux alone"
    logger.warning(
        "Options.tcp_user_timeout has no effect: %s. A peer whose host has vanished is noticed "
        "only when a write to it fails.",
        why,
    )
    return False


def line_of_scope(scope: Scope) -> Line | None:
    """Return the two ends of a scope's connection. None if they are not TCP addresses."""
    peer, own = (_address(scope.get(end)) for end in ("client", "server"))
    return None if peer is None or own is None else Line(peer, own)


def reset(wanted: Lines) -> Lines:
    """Reset each of these connections that has exactly one socket. Return those found."""
    return _each(wanted, _reset_socket)


def hurry(wanted: Lines) -> Lines:
    """Hurry each of these connections that has exactly one socket. Return those found."""
    return _each(wanted, hurry_socket)


def _each(wanted: Lines, act: Callable[[socket.socket], None]) -> Lines:
    by_peer: dict[Address, list[Line]] = {line.peer: [] for line in wanted}
    for line in wanted:
        by_peer[line.peer].append(line)
    ports = {peer.port for peer in by_peer}
    found: dict[Line, dict[int, socket.socket]] = {line: {} for line in wanted}
    with ExitStack() as kept:
        for sock in own_sockets():
            seen = _line_of_socket(sock, ports)
            for asked in by_peer.get(seen.peer, ()) if seen else ():
                if seen and _is_same_end(seen.own, asked.own):
                    # By inode: two descriptors of one socket are the same connection.
                    inode = os.fstat(sock.fileno()).st_ino
                    found[asked][inode] = kept.enter_context(_copy(sock.fileno()))
        alone = {line: next(iter(each.values())) for line, each in found.items() if len(each) == 1}
        for sock in alone.values():
            act(sock)
    return frozenset(alone)


def reset_when_closed(sock: socket.socket) -> None:
    """Have the close of this socket, by any code, reset its connection."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except (OSError, ValueError) as error:  # uvloop's sockets raise ValueError once they are closed
        logger.debug("A connection had ended before its reset: %r", error)


def _reset_socket(sock: socket.socket) -> None:
    reset_when_closed(sock)
    try:
        # The server's pending write fails and its read ends; it then closes, which is the reset.
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        logger.debug("A connection had ended before its reset: %r", error)


def hurry_socket(sock: socket.socket) -> None:
    """Have the kernel reset this socket if its peer acknowledges nothing, even after its close."""
    _set_limit(sock, HURRY_SECONDS * 1_000)


def _limit(milliseconds: int) -> bool:
    """Set the limit on listeners first, whose new connections inherit it; then on connections."""
    if sys.platform != "linux":
        return False
    listening = set()
    for sock in own_sockets():
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            _set_limit(sock, milliseconds)
            listening.add(sock.getsockname()[1])
    for sock in own_sockets() if listening else ():
        if sock.getsockname()[1] in listening:
            _set_limit(sock, milliseconds)
    return bool(listening)


def _set_limit(sock: socket.socket, milliseconds: int) -> None:
    if sys.platform == "linux":
        try:
            now = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            if not 0 < now <= milliseconds:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        except (OSError, ValueError) as error:
            logger.debug("A socket of another protocol than TCP, or one closed since: %r", error)


def own_sockets() -> Iterator[socket.socket]:
    """Yield a copy of each IP stream socket of the process; each is closed before the next one.

    A copy, because the event loop goes on meanwhile: it may close a descriptor and open another
    with the same number between two system calls.
    """
    with os.scandir(OWN_DESCRIPTORS) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            # Checked before it is copied: closing a copy of a file drops the process's locks on it.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            sock = _copy(int(name))
        except OSError as error:
            if error.errno in _ALL_IN_USE:
                raise
            continue  # closed since the directory was listed
        with sock:
            kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            if sock.family in _FAMILIES and kind == socket.SOCK_STREAM:
                yield sock


def _copy(descriptor: int) -> socket.socket:
    """Return a second descriptor of a socket, and leave the socket as it is.

    Whether it blocks is a state that all its descriptors share. `socket.dup` has it block, and so
    the next write to a peer that does not read would stop the event loop; with a default timeout
    set, `socket.socket` would have it not block. Only with this flag does Python leave it alone.
    """
    copied = os.dup(descriptor)
    try:
        return socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK, fileno=copied)
    except OSError:
        os.close(copied)
        raise


def _line_of_socket(sock: socket.socket, ports: Container[int]) -> Line | None:
    """Return the two ends of a connected socket, if its peer has one of these ports."""
    try:
        peer_name = sock.getpeername()
        # First the port, because parsing an address costs more than all the rest.
        if peer_name[1] not in ports:
            return None
        peer, own = _address(peer_name), _address(sock.getsockname())
    except OSError:
        return None  # it listens, or its connection has ended
    return None if peer is None or own is None else Line(peer, own)


def _address(pair: Iterable[object] | None) -> Address | None:
    host, port, *_ = pair or (None, None)
    try:
        # Servers give the port as a number or as text; UNIX sockets give a path and None.
        parsed = ip_address(str(host))
        number = int(str(port))
    except ValueError:
        return None
    # A listener for both IP versions shows IPv4 peers as ::ffff:192.0.2.1.
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return Address(mapped or parsed, number)


def _is_same_end(own: Address, asked: Address) -> bool:
    # Some servers give the address they listen on, which may be 0.0.0.0, not the connection's own.
    return own.port == asked.port and (asked.host.is_unspecified or own.host == asked.host)


@dataclass
class _Scan:
    wanted: set[Line] = field(default_factory=set)
    found: Lines | None = None


class _Desk:
    """Collects the connections of one event loop to act on, and scans for them in a thread.

    All requests that come during one scan share the next: peers stall together, for instance all of
    one mobile cell, and with many thousand descriptors a scan takes a good part of a second.
    """

    def __init__(self, work: Callable[[Lines], Lines]) -> None:
        self._work = work
        self._lock = anyio.Lock()
        # A limiter of its own: all threads of the application may be busy.
        self._thread = anyio.CapacityLimiter(1)
        self._next = _Scan()

    async def ask(self, line: Line) -> bool:
        """Act on one connection. False if it was not found."""
        scan = self._next
        scan.wanted.add(line)
        async with self._lock:
            if scan.found is None:
                self._next = _Scan()
                scan.found = await self._scan(frozenset(scan.wanted))
        return line in scan.found

    async def _scan(self, wanted: Lines) -> Lines:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await anyio.sleep(_ATTEMPT_SECONDS)
            try:
                return await anyio.to_thread.run_sync(self._work, wanted, limiter=self._thread)
            except (OSError, RuntimeError) as error:  # RuntimeError: no thread is left
                _tell_once(repr(error))
                if isinstance(error, OSError) and error.errno not in _ALL_IN_USE:
                    break
        return frozenset()


_resets: RunVar[_Desk] = RunVar("_resets")
_hurries: RunVar[_Desk] = RunVar("_hurries")


async def _ask(desks: RunVar[_Desk], work: Callable[[Lines], Lines], scope: Scope) -> bool:
    line = line_of_scope(scope)
    if line is None:
        return False
    desk = desks.get(None)
    if desk is None:
        desk = _Desk(work)
        desks.set(desk)
    return await desk.ask(line)


@cache
def _tell_once(why: str) -> None:
    logger.warning(
        "This system does not list the process's own sockets (%s): a peer that stopped reading is "
        "held until the server lets it go.",
        why,
    )
