"""PondSocket as an ASGI app: WebSocket, Server-Sent Events and lifespan."""

from pondsocket_asgi._process.redact import RedactSecrets
from pondsocket_asgi._process.refusals import QuietRefusals
from pondsocket_asgi._transport.websocket import ASGIWebSocketTransport

from ._app import PondASGIApp

__version__ = "0.1.0"

__all__ = ["ASGIWebSocketTransport", "PondASGIApp", "QuietRefusals", "RedactSecrets", "__version__"]
