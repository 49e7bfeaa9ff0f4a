"""The ASGI app: which function serves which scope, and nothing else."""

from pondsocket import PondSocket

from ._lifespan import serve_lifespan
from ._scope import Receive, Scope, Send
from ._sse import serve_http
from ._websocket import serve_websocket


class PondASGIApp:
    """A pond as an ASGI app, to be run by a server or mounted in a host app."""

    def __init__(self, pond: PondSocket) -> None:
        self.pond = pond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, one HTTP request or one lifespan."""
        match scope["type"]:
            case "websocket":
                await serve_websocket(self.pond, scope, receive, send)
            case "http":
                await serve_http(self.pond, scope, receive, send)
            case "lifespan":
                await serve_lifespan(self.pond, receive, send)
            case unknown:
                raise ValueError(
                    f"PondASGIApp serves http, websocket and lifespan scopes, not {unknown!r}."
                )
