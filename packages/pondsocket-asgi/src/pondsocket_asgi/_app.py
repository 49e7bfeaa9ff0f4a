"""The ASGI app: which function serves which scope."""

from collections.abc import Sequence
from weakref import WeakSet

from pondsocket import PondSocket, UsageError
from pondsocket.adapter import get_log, running_asyncio

from pondsocket_asgi._http.client_files import MODULE, client_file, served_paths
from pondsocket_asgi._http.routes import serve_http
from pondsocket_asgi._process.alone import Alone
from pondsocket_asgi._process.signals import hook
from pondsocket_asgi._process.sockets import limit_unacknowledged
from pondsocket_asgi._resume.cursor import CursorKeys
from pondsocket_asgi._transport.shared import Shared
from pondsocket_asgi._transport.websocket import open_websocket

from ._lifespan import serve_lifespan
from ._origins import OriginCheck
from ._scope import Receive, Scope, Send

logger = get_log("pondsocket.asgi.transport")
# For the test kit, to which a host does not show what it has mounted.
living_apps: "WeakSet[PondASGIApp]" = WeakSet()


class PondASGIApp:
    """A pond as an ASGI app, to be run by a server or mounted in a host app.

    Args:
        pond: The `PondSocket` to serve.
        drain_on_signals: Whether to hold SIGTERM and SIGINT back from the server until all
            connections have been told and have ended, as in `PondSocket.begin_drain`. Signals are
            held only while there are connections, and only if the server runs in the main thread.
        cursor_key: The secret that signs the cursors of event streams, of 16 bytes or more; or
            several secrets, the newest first. All processes and hosts that serve the same streams
            need the same secrets. By default each process makes its own.
        client: The path, below the mount, of the client for browsers: a JavaScript module, with its
            types and its binding for React beside it. An endpoint at the same path goes first.
            None: no file is served.

    Raises:
        UsageError: A cursor key is shorter than 16 bytes, `client` is no path of a script, or
            `pond` is something else, such as an endpoint.
    """

    def __init__(
        self,
        pond: PondSocket,
        *,
        drain_on_signals: bool = True,
        cursor_key: str | bytes | Sequence[str | bytes] = (),
        client: str | None = "/pondsocket.js",
    ) -> None:
        if not isinstance(pond, PondSocket):
            raise UsageError(
                f"PondASGIApp serves a PondSocket with all its endpoints, not {pond!r}: write"
                " `PondASGIApp(pond)`."
            )
        self.pond = pond
        self._drain_on_signals = drain_on_signals
        self._client = client
        # Set at the first connection: only then is every server listening.
        self._unset_timeout = pond.options.tcp_user_timeout
        given = [cursor_key] if isinstance(cursor_key, str | bytes) else cursor_key
        keys = CursorKeys(*given)
        pond.enable_batching(running_asyncio)
        # With a backplane any number of processes may serve it.
        self._alone = None if pond.has_backplane else Alone(self._paths)
        self._shared = Shared(
            pond,
            OriginCheck(pond),
            keys,
            self._each_second,
            self._alone,
            client_paths=served_paths(client),
        )
        living_apps.add(self)

    @property
    def client_url(self) -> str | None:
        """The client's path below the mount, with its version: what browsers keep for a year."""
        if self._client is None:
            return None
        return f"{self._client}?v={client_file(MODULE).version}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, one HTTP request or one lifespan."""
        if self._unset_timeout is not None and scope["type"] != "lifespan":
            await self._set_timeout(self._unset_timeout)
        kind = scope["type"]
        alone = self._alone
        if alone is not None and alone.is_open and kind != "lifespan" and self.pond.is_ready:
            alone.meet(scope.get("server"))
        # A GET may become a connection. No `with` and no wrapping coroutine: either would keep more
        # objects alive for as long as the connection lasts: `python -m tests.benchmarks`, "Memory
        # of an idle member", 0.4 KiB.
        may_last = kind == "websocket" or (kind == "http" and scope["method"] == "GET")
        is_held = may_last and self._drain_on_signals and hook.enter(self.pond)
        try:
            match kind:
                case "websocket":
                    transport = await open_websocket(self._shared, scope, receive, send)
                    if transport is not None:
                        await transport.run()
                case "http":
                    await serve_http(self._shared, scope, receive, send)
                case "lifespan":
                    await serve_lifespan(self.pond, receive, send)
                case unknown:
                    raise ValueError(
                        f"PondASGIApp serves http, websocket and lifespan scopes, not {unknown!r}."
                    )
        finally:
            if is_held:
                hook.leave()
            if alone is not None and kind == "lifespan":
                alone.release()

    async def _set_timeout(self, seconds: float) -> None:
        self._unset_timeout = None  # connections that come meanwhile do not wait for it
        try:
            await limit_unacknowledged(seconds)
        except (OSError, RuntimeError) as error:
            self._unset_timeout = seconds
            text = (
                "Options.tcp_user_timeout has no effect yet (%r): the next connection tries again."
            )
            logger.warning(text, error)

    def _paths(self) -> list[str]:
        return [endpoint.path for endpoint in self.pond.endpoints]

    def _each_second(self) -> None:
        self.pond.tidy()
        if self._alone is not None:
            if self.pond.is_ready:
                self._alone.check()
            else:
                self._alone.release()
        if self._drain_on_signals:
            hook.ask_server()
