"""HTTP/2 and HTTP/3: a `send` that waits for the client, as that of HTTP/1.1 does."""

import sys
from typing import Final

from pondsocket.adapter import get_log

from pondsocket_asgi._process.servers import HypercornStream
from pondsocket_asgi._scope import Message, Scope, Send, is_old_http

_log: Final = get_log("pondsocket.asgi.transport")

_UNBOUNDED: Final = (
    "hypercorn keeps all that is sent over HTTP/%s to a client that reads nothing, and its stream "
    "was not found here, to wait for the client. Serve HTTP/1.1 alone (alpn_protocols = "
    '["http/1.1"], no quic_bind), or let a proxy speak HTTP/2.'
)
_told: Final[set[str]] = set()


def waiting_send(scope: Scope, send: Send) -> Send:
    """Return a `send` that waits while the client is far behind.

    Must be called in the task in which the server runs the app.
    """
    if "hypercorn" not in sys.modules or is_old_http(scope):
        return send
    stream = HypercornStream.find()
    if stream is None:
        _tell_once(str(scope.get("http_version")))
        return send

    async def send_and_drain(message: Message) -> None:
        await send(message)
        await stream.drain()

    return send_and_drain


def _tell_once(version: str) -> None:
    if version not in _told:
        _told.add(version)
        _log.warning(_UNBOUNDED, version)
