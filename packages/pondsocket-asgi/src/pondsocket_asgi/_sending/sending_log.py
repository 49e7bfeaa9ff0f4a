"""What the log says of the way that frames take to the server: one line for each cause."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pondsocket.adapter import get_log

from pondsocket_asgi._process.servers import runs_uvicorn
from pondsocket_asgi._scope import FAST_LANE, Scope

from .known_wrappers import Kind, is_listed
from .server_send import ServerSend

_log: Final = get_log("pondsocket.asgi.transport")

_ON: Final = "WebSockets take the fast lane: frames are written straight to their sockets."
_OFF: Final = (
    "%s replaces `send`%s, and may need every message of a %s. So %s behind it a task writes the "
    "frames of each connection, which takes two to seven times as long. If it needs none of them, "
    'let it give the app the `send` that it was given where scope["type"] is "%s", or mount the '
    "pond outside of it."
)
_KINDS: Final[Mapping[str, str]] = {"websocket": "WebSocket", "http": "stream"}
_UNKNOWN_VERSION: Final = " in another way than the versions that are known here"
_MOST_CAUSES: Final = 100


class SendingLog:
    """What was logged of one app."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def note(self, scope: Scope, found: ServerSend) -> None:
        """Log how the messages of a connection reach the server, if that is new."""
        kind: Kind = scope["type"]
        has_lane = kind == "websocket" and FAST_LANE in (scope.get("extensions") or ())
        if found.is_inline:
            if has_lane and self._is_new(kind, ""):
                self._told.add((kind, ""))
                _log.info(_ON)
        elif found.stopped_by is not None:
            name = _name_of(found.stopped_by)
            # On other servers, frames are written so whether there is a wrapper or not.
            if self._is_new(kind, name) and runs_uvicorn():
                self._told.add((kind, name))
                version = _UNKNOWN_VERSION if is_listed(found.stopped_by, kind) else ""
                effect = "the fast lane is off:" if has_lane else "no caller writes at once:"
                _log.info(_OFF, name, version, _KINDS[kind], effect, kind)

    def _is_new(self, kind: str, cause: str) -> bool:
        return (kind, cause) not in self._told and len(self._told) < _MOST_CAUSES


def _name_of(send: Any) -> str:
    """Return the module and name of the class or function that a wrapper was made by."""
    if isinstance(send, partial):
        return _name_of(send.func)
    function = getattr(send, "__func__", send)
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(send).__module__}.{type(send).__qualname__}"
    # Of the code, not of the function: `functools.wraps` copies the names of what it wraps.
    name = code.co_qualname.partition(".")[0]
    return f"{function.__globals__.get('__name__')}.{name}"
