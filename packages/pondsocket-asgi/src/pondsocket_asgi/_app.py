"""The ASGI app: which function serves which scope, and nothing else."""

from collections.abc import Sequence

from pondsocket import PondSocket

from ._cursor import CursorKeys
from ._door import Door
from ._lifespan import serve_lifespan
from ._scope import Receive, Scope, Send
from ._security import Doorman
from ._signals import hook
from ._sockets import limit_unacknowledged
from ._sse import serve_http
from ._stepping import running_asyncio
from ._websocket import open_websocket


class PondASGIApp:
    """A pond as an ASGI app, to be run by a server or mounted in a host app.

    Args:
        pond: What is served.
        drain_on_signals: Whether SIGTERM and SIGINT reach the server only when all connections
            have been told and have ended, as `PondSocket.begin_drain` has it. They are held
            while there are connections, and only where the server runs in the main thread.
        cursor_key: The secret, or several with the newest first, by which event streams are
            resumed, of 16 bytes or more. Workers and hosts that serve the same streams need the
            same; by default each process makes its own.

    Raises:
        UsageError: The cursor key is none.
    """

    def __init__(
        self,
        pond: PondSocket,
        *,
        drain_on_signals: bool = True,
        cursor_key: str | bytes | Sequence[str | bytes] = (),
    ) -> None:
        self.pond = pond
        self._drain_on_signals = drain_on_signals
        # Until the first connection: only then do all servers listen.
        self._unset_timeout = pond.options.tcp_user_timeout
        given = [cursor_key] if isinstance(cursor_key, str | bytes) else cursor_key
        keys = CursorKeys(*given)
        pond.gather_turns(running_asyncio)
        self._door = Door(pond, Doorman(pond), keys, self._each_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, one HTTP request or one lifespan."""
        if self._unset_timeout is not None and scope["type"] != "lifespan":
            seconds, self._unset_timeout = self._unset_timeout, None
            await limit_unacknowledged(seconds)
        kind = scope["type"]
        # A GET may become a connection. Not by `with`, which would keep two objects for as long as
        # that lasts, nor by one call around all: `python -m tests.benchmarks`, "Memory of an idle
        # member", 0.4 KiB.
        may_last = kind == "websocket" or (kind == "http" and scope["method"] == "GET")
        is_held = may_last and self._drain_on_signals and hook.enter(self.pond)
        try:
            match kind:
                case "websocket":
                    transport = await open_websocket(self._door, scope, receive, send)
                    if transport is not None:
                        await transport.run()
                case "http":
                    await serve_http(self._door, scope, receive, send)
                case "lifespan":
                    await serve_lifespan(self.pond, receive, send)
                case unknown:
                    raise ValueError(
                        f"PondASGIApp serves http, websocket and lifespan scopes, not {unknown!r}."
                    )
        finally:
            if is_held:
                hook.leave()

    def _each_second(self) -> None:
        self.pond.tidy()
        if self._drain_on_signals:
            hook.ask_server()
