"""PondSocket as an ASGI app: WebSocket, Server-Sent Events and lifespan."""

from ._app import PondASGIApp
from ._redact import RedactSecrets
from ._websocket import ASGIWebSocketTransport

__version__ = "0.1.0"

__all__ = ["ASGIWebSocketTransport", "PondASGIApp", "RedactSecrets", "__version__"]
