"""What only a server's internals tell: is it ending, does it ping, which headers can it send.

ASGI has neither. No other module of this package knows a server by name, but `_fastlane`. What is
not found is None or False, and everything works without it. Most of it is found in the call stack,
so these functions are called in the task in which the server runs the app. Tests against the real
servers (`tests/integration/test_deploys_inside.py`) fail if one no longer has what this looks for.
"""

import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import FrameType
from typing import Any, Final, TypeAlias

from pondsocket.adapter import get_log, running_asyncio

from pondsocket_asgi._scope import Message

from .sockets import hurry_socket, reset_when_closed

HeaderTuples: TypeAlias = tuple[tuple[bytes, bytes], ...]

_log: Final = get_log("pondsocket.asgi.transport")
# Seconds. Hypercorn cuts what is left after its graceful_timeout; the last closes need some time.
_MARGIN: Final = 0.5
# As hypercorn's own mark, in bytes: from there on its `send` is to wait.
_MOST_UNREAD: Final = 32 * 1024
_FAST_LANE: Final = "pondsocket_asgi._fastlane."
_RUNNING: Final = ("uvicorn.protocols.", _FAST_LANE)
_UVICORN_WEBSOCKETS: Final = ("uvicorn.protocols.websockets.", _FAST_LANE)
# Methods of asyncio.Transport; uvloop's transport is no subclass of it.
_ASKED_OF_TRANSPORTS: Final = ("abort", "get_extra_info", "get_write_buffer_size", "is_closing")


def is_ending(handler: object) -> bool:
    """Return whether the server with this signal handler has begun to end.

    It knows uvicorn's Server, which ends by a signal, by an attribute, or when it reaches its
    `--limit-max-requests`; the last sets no attribute, but closes its listeners.
    """
    server = getattr(handler, "__self__", None)
    if getattr(server, "should_exit", False) is True:
        return True
    listeners: list[Any] = getattr(server, "servers", None) or []
    try:
        for listener in listeners:  # asked at each connection: the first one serves
            if listener.is_serving():
                return False
    except (AttributeError, TypeError):
        return False
    return bool(listeners)


def runs_uvicorn() -> bool:
    """Return whether uvicorn has called an app in this event loop. It looks at all tasks."""
    # Not in the call stack: a middleware may have called the app in another task.
    if "uvicorn.protocols" not in sys.modules or running_asyncio() is None:
        return False
    for task in sys.modules["asyncio"].all_tasks():
        frame: FrameType | None = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and frame.f_code.co_name == "run_asgi":
            name = frame.f_globals.get("__name__")
            if isinstance(name, str) and name.startswith(_RUNNING):
                return True
    return False


def find_uvicorn(receive: object = None) -> Any:
    """Find uvicorn's protocol object that runs the calling task for a WebSocket.

    Where there is one, `is_restart` can tell.
    """
    # `receive` is its method, unless a middleware wraps it. Looking at the call stack makes frame
    # objects, which live as long as the calls: 1 KiB a connection (`python -m tests.benchmarks`,
    # "Memory of an idle member").
    owner: Any = getattr(receive, "__self__", None)
    kind: Any = type(owner)
    if _is_of_uvicorn(kind):
        return owner
    if "uvicorn" not in sys.modules:
        return None
    for frame in _frames(_UVICORN_WEBSOCKETS, "run_asgi"):
        return frame.f_locals.get("self")
    return None


def is_restart(disconnect: Message) -> bool:
    """Return whether uvicorn closed this WebSocket because it ends, and not the peer.

    A peer may send 1012 as well, and must not cause a drain. uvicorn passes on a peer's reason,
    even an empty one, and gives none of its own.
    """
    return disconnect.get("code") == 1012 and "reason" not in disconnect


def ping_seconds(uvicorn: Any) -> float | None:
    """Return how often the server pings the WebSocket being opened. None: never, or unknown.

    Args:
        uvicorn: What `find_uvicorn` has found.
    """
    if uvicorn is not None:
        # From the connection, not from the configuration: until 0.44 and 0.46, two of the three
        # implementations ignored `--ws-ping-interval`, and have no such attribute.
        interval = getattr(uvicorn, "ping_interval", None)
    else:
        call = _hypercorn()
        config = call.f_locals.get("config") if call is not None else None
        interval = getattr(config, "websocket_ping_interval", None)
    return float(interval) if isinstance(interval, int | float) and interval > 0 else None


def accept_headers(named: HeaderTuples) -> HeaderTuples:
    """Return the headers that the server can send when it accepts a WebSocket."""
    if named and _is_granian():
        _warn_once("granian (2.8) drops the headers and cookies of an accepted WebSocket.")
    return named


def refusal_headers_of_websocket(named: HeaderTuples) -> HeaderTuples:
    """Return the headers that the server can send when it refuses a WebSocket.

    At two of one name, such as two cookies, granian's worker process ends with all its clients.
    """
    if not _is_granian():
        return named
    last = dict(named)
    if len(last) < len(named):
        _warn_once("granian (2.8) cannot refuse a WebSocket with two cookies: the last one is set.")
    return tuple(last.items())


def _is_granian() -> bool:
    """Return whether granian runs this process: nothing but its workers loads this module."""
    return "granian._granian" in sys.modules


@lru_cache(maxsize=8)
def _warn_once(text: str) -> None:
    _log.warning(text)


def find_transport(receive: object) -> Any:
    """Return the transport of the connection that `receive` reads from. None if it is not found.

    uvicorn's `receive` is a method of an object that has the transport. Where there is none, the
    caller looks the connection up by its addresses.
    """
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    kind: Any = type(transport)  # a type is hashable, which mypy does not know
    return transport if _is_transport(kind) or _can_be_asked(transport) else None


@lru_cache(maxsize=8)
def _is_transport(kind: type) -> bool:
    # Once for each class: `python -m tests.benchmarks`, "Connect and join".
    return _can_be_asked(kind)


def _can_be_asked(transport: object) -> bool:
    return all(callable(getattr(transport, name, None)) for name in _ASKED_OF_TRANSPORTS)


def hurry_transport(transport: Any) -> None:
    """Do what `hurry_connection` does, to the connection of this transport."""
    if (sock := _socket_of(transport)) is not None:
        hurry_socket(sock)


def abort_transport(transport: Any) -> None:
    """Do what `reset_connection` does, likewise. Must be called in the event loop."""
    if (sock := _socket_of(transport)) is not None:
        # Without a reset, the system keeps what was written until the peer reads it: for ever.
        reset_when_closed(sock)
    transport.abort()


def unsent_bytes(receive: object) -> int:
    """Return how many bytes wait in the transport that `receive` reads from; 0 if unknown."""
    # Once a second for every WebSocket, so without the checks of `find_transport`.
    try:
        size: int = receive.__self__.transport.get_write_buffer_size()  # type: ignore[attr-defined]
    except AttributeError:
        return 0
    return size


def pause_transport(transport: Any) -> None:
    """Have a transport read nothing more."""
    try:
        transport.pause_reading()
    except (AttributeError, RuntimeError):
        return  # it cannot, or is closed: then it reads nothing


def is_behind(transport: Any) -> bool:
    """Return whether a transport still holds bytes that its peer has no room for."""
    try:
        return bool(transport.get_write_buffer_size())
    except AttributeError:  # as below
        return False


def _socket_of(transport: Any) -> Any:
    """Return the socket of a transport. None if the transport has ended."""
    try:
        return transport.get_extra_info("socket")
    except AttributeError:  # raised by asyncio's TLS transport if it was closed twice
        return None


class HypercornWorker:
    """The worker of hypercorn that runs the calling task.

    Such a worker ends without a signal that an app could see: the parent sets an event, which the
    worker checks ten times a second; then the worker sets another one, its `terminated`.
    """

    def __init__(self, terminated: Any, graceful_timeout: float) -> None:
        self._terminated = terminated
        self.drain_limit: Final = max(0.0, graceful_timeout - _MARGIN)

    @classmethod
    def find(cls) -> "HypercornWorker | None":
        """Find the worker. None if there is none, or a middleware runs the app in another task."""
        call = _hypercorn()
        if call is None:
            return None
        send, config = call.f_locals.get("send"), call.f_locals.get("config")
        context = getattr(getattr(send, "__self__", None), "context", None)
        terminated = getattr(context, "terminated", None)
        timeout = getattr(config, "graceful_timeout", None)
        if not callable(getattr(terminated, "set", None)) or not isinstance(timeout, int | float):
            return None
        return cls(terminated, float(timeout))

    def when_it_ends(self, notice: Callable[[], object]) -> None:
        """Call `notice` once, when the worker begins to end and before it closes anything."""
        original = self._terminated.set
        if isinstance(original, _Notice):
            return
        self._terminated.set = _Notice(notice, original)


class HypercornStream:
    """A stream of HTTP/2 under hypercorn, which keeps what its client does not read.

    Its `send` never waits for the client (0.18.0: `StreamBuffer.pop` lets it go on also where the
    client takes nothing). That cannot be mended in `send`: hypercorn itself calls it while it
    reads, for the answers to pings, and would wait there for what it does not read meanwhile.
    """

    def __init__(self, buffers: dict[int, Any], stream_id: int) -> None:
        self._buffers = buffers
        self._stream_id = stream_id

    @classmethod
    def find(cls) -> "HypercornStream | None":
        """Find the stream of the calling task; as `HypercornWorker.find`."""
        call = _hypercorn()
        stream = None if call is None else getattr(call.f_locals.get("send"), "__self__", None)
        protocol = getattr(getattr(stream, "send", None), "__self__", None)
        buffers = getattr(protocol, "stream_buffers", None)
        stream_id = getattr(stream, "stream_id", None)
        if not isinstance(buffers, dict) or not isinstance(stream_id, int):
            return None
        buffer = buffers.get(stream_id)
        if not isinstance(getattr(buffer, "buffer", None), bytearray):
            return None
        return cls(buffers, stream_id) if callable(getattr(buffer, "drain", None)) else None

    @property
    def held(self) -> int:
        """How many bytes the client has not taken."""
        buffer = self._buffers.get(self._stream_id)
        return 0 if buffer is None else len(buffer.buffer)

    async def drain(self) -> None:
        """Wait for the client, if it is far behind."""
        if self.held >= _MOST_UNREAD:
            await self._buffers[self._stream_id].drain()


class _Notice:
    """Replaces hypercorn's `Event.set`: calls `notice` before the original."""

    def __init__(self, notice: Callable[[], object], original: Callable[[], Any]) -> None:
        self._notice = notice
        self._original = original

    async def __call__(self) -> None:
        try:
            self._notice()
        finally:
            await self._original()


@lru_cache(maxsize=8)
def _is_of_uvicorn(kind: type) -> bool:
    """Return whether this is one of uvicorn's classes, a subclass, or the fast lane's."""
    # Once for each class, as `_is_transport`.
    return any(each.__module__.startswith(_UVICORN_WEBSOCKETS) for each in kind.__mro__)


def _hypercorn() -> FrameType | None:
    if "hypercorn" not in sys.modules:  # asked at each connection, on any server
        return None
    return next(_frames("hypercorn.", "_handle"), None)


def _frames(module: str | tuple[str, ...], function: str) -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == function:
            name = frame.f_globals.get("__name__")
            if isinstance(name, str) and name.startswith(module):
                yield frame
        frame = frame.f_back
