"""What only a server's inside tells: whether it is ending, and whether it pings by itself.

ASGI says nothing of either. Nothing else in this package knows a server by name; what is not found
is None or False, and everything works without it. Most of it is found in the calls that lead to
ours, so it is asked in the task that the server runs the app in. Tests against the real servers
(`tests/integration/test_deploys_inside.py`) fail where one no longer has what is looked for.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from ._scope import Message
from ._sockets import hurry_socket, reset_when_closed

# Hypercorn cuts off what is left after its graceful_timeout; the last closes need some of it.
_MARGIN: Final = 0.5
_UVICORN_WEBSOCKETS: Final = "uvicorn.protocols.websockets."
# asyncio.Transport's, of which uvloop's is no subclass.
_ASKED_OF_TRANSPORTS: Final = ("get_extra_info", "abort")


def is_leaving(handler: object) -> bool:
    """Whether the server whose signal handler this is has begun to end.

    uvicorn's Server: it may have been told by a signal or an attribute, or have counted to its
    `--limit-max-requests`, which sets no attribute; then it has closed its listeners.
    """
    server = getattr(handler, "__self__", None)
    if getattr(server, "should_exit", False) is True:
        return True
    listeners: list[Any] = getattr(server, "servers", None) or []
    try:
        return bool(listeners) and not any(listener.is_serving() for listener in listeners)
    except (AttributeError, TypeError):
        return False


def says_restart(receive: object = None) -> bool:
    """Whether the WebSocket that is being opened tells by `is_restart` that the server ends it."""
    return _uvicorn(receive) is not None


def is_restart(disconnect: Message) -> bool:
    """Whether uvicorn, because it ends, and not its peer ended this WebSocket.

    A peer may say 1012 as well, and must not drain everybody. uvicorn hands on a peer's reason,
    though it be empty, and gives none for itself.
    """
    return disconnect.get("code") == 1012 and "reason" not in disconnect


def ping_seconds(receive: object = None) -> float | None:
    """How often the server pings the WebSocket that is being opened; None: never, or unknown."""
    if (uvicorn := _uvicorn(receive)) is not None:
        # Of the connection, not of the configuration: until 0.44 and 0.46, two of the three
        # implementations ignored `--ws-ping-interval`, and have no such attribute.
        interval = getattr(uvicorn, "ping_interval", None)
    else:
        call = _hypercorn()
        config = call.f_locals.get("config") if call is not None else None
        interval = getattr(config, "websocket_ping_interval", None)
    return float(interval) if isinstance(interval, int | float) and interval > 0 else None


def hurry_transport(receive: object) -> bool:
    """What `hurry_connection` does, to the connection that a call's `receive` reads from.

    uvicorn's is a method of its protocol, or of its request, and each has the transport. False
    where it is not known, and only there: whoever is told so looks the connection up elsewhere.
    """
    transport = _transport(receive)
    if transport is None:
        return False
    if (sock := _socket_of(transport)) is not None:
        hurry_socket(sock)
    return True


def abort_transport(receive: object) -> bool:
    """What `reset_connection` does, likewise; to be called in the event loop."""
    transport = _transport(receive)
    if transport is None:
        return False
    if (sock := _socket_of(transport)) is not None:
        # Else the system keeps what was written until the peer takes it, which it never does.
        reset_when_closed(sock)
    transport.abort()
    return True


def _transport(receive: object) -> Any:
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    is_known = all(callable(getattr(transport, name, None)) for name in _ASKED_OF_TRANSPORTS)
    return transport if is_known else None


def _socket_of(transport: Any) -> Any:
    """The socket of a transport; None where it has ended."""
    try:
        return transport.get_extra_info("socket")
    except AttributeError:  # asyncio's for TLS, closed twice
        return None


class HypercornWorker:
    """The worker of hypercorn that runs the calling task.

    Its workers end without any signal of which an app could know: the parent sets an event, which
    the worker looks at ten times a second, and then a second one, its `terminated`.
    """

    def __init__(self, terminated: Any, graceful_timeout: float) -> None:
        self._terminated = terminated
        self.drain_limit: Final = max(0.0, graceful_timeout - _MARGIN)

    @classmethod
    def find(cls) -> "HypercornWorker | None":
        """Look for it; a middleware that runs the app in a task of its own hides it."""
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
        """Call a function when the worker begins to end, before it closes anything; once."""
        original = self._terminated.set
        if isinstance(original, _Notice):
            return
        self._terminated.set = _Notice(notice, original)


class _Notice:
    """Hypercorn's `Event.set`, after somebody else is told."""

    def __init__(self, notice: Callable[[], object], original: Callable[[], Any]) -> None:
        self._notice = notice
        self._original = original

    async def __call__(self) -> None:
        try:
            self._notice()
        finally:
            await self._original()


def _uvicorn(receive: object) -> Any:
    """The protocol object of uvicorn that runs the calling task for a WebSocket."""
    # Its own method, unless a middleware wraps it. To look at the calls makes objects of them,
    # which stay as long as the calls do: 1 KiB a connection (`python -m tests.benchmarks`,
    # "Memory of an idle member").
    owner = getattr(receive, "__self__", None)
    # One of its classes, or one made of it, as the fast lane's.
    for each in type(owner).__mro__:
        if each.__module__.startswith(_UVICORN_WEBSOCKETS):
            return owner
    for frame in _frames(_UVICORN_WEBSOCKETS, "run_asgi"):
        return frame.f_locals.get("self")
    return None


def _hypercorn() -> FrameType | None:
    return next(_frames("hypercorn.", "_handle"), None)


def _frames(module: str, function: str) -> Iterator[FrameType]:
    if module.partition(".")[0] not in sys.modules:
        return
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == function:
            name = frame.f_globals.get("__name__")
            if isinstance(name, str) and name.startswith(module):
                yield frame
        frame = frame.f_back
