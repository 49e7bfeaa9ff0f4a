"""Where a test begins: it connects clients to its app."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Literal, Self

from pondsocket import ErrorContext, PondSocket, UsageError
from pondsocket_common import POND, ClientCodec

from pondsocket_asgi._app import PondASGIApp
from pondsocket_asgi.testing._driver import ASGITestDriver, HTTPAnswer
from pondsocket_asgi.testing._running import ASGIApp
from pondsocket_asgi.testing._session import Session

from .connected import ConnectedClient
from .ponds import Ponds

# With it, a refused WebSocket has a status and a body, as behind most servers.
_EXTENSIONS = {"websocket.http.response": dict[str, Any]()}


class PondClient:
    """Connects clients to an app in memory; the fixture `pond_client` is one.

    It works in any event loop of asyncio or trio, also in one for each test.

    Args:
        app: A `PondSocket`, or an ASGI app, for instance the host that a pond is mounted in.
        wait: How many seconds each wait may last.
        expect_errors: Whether handlers may raise. If not, the test gets what they raised.
        root_path: Where the app is mounted, put before every path.
        transport: What `connect` opens: "websocket", or "sse" for an event stream.

    Raises:
        UsageError: It is no app, for instance the None of a fixture without a `return`.
    """

    __test__ = False

    def __init__(
        self,
        app: PondSocket | ASGIApp,
        *,
        wait: float = 1.0,
        expect_errors: bool = False,
        root_path: str = "",
        transport: Literal["websocket", "sse"] = "websocket",
    ) -> None:
        if not callable(app):
            raise UsageError(
                "The app under test is a PondSocket or an ASGI app, not"
                f" {type(app).__name__}: return it from `pond_app`."
            )
        served = PondASGIApp(app, drain_on_signals=False) if isinstance(app, PondSocket) else app
        self.app: ASGIApp = served
        self.wait = wait
        self._transport = transport
        self.driver: ASGITestDriver = ASGITestDriver(served, root_path=root_path)
        self._ponds = Ponds(served, expect_errors=expect_errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.close(is_failed=error is not None)

    def close(self, *, is_failed: bool = False) -> None:
        """End it; clients need not be disconnected.

        Raises:
            BaseException: What a handler has raised, unless the test has failed itself.
        """
        try:
            if not is_failed:
                self._ponds.raise_failure()
        finally:
            self._ponds.close()

    @property
    def pond(self) -> PondSocket:
        """The pond: that of the latest client, or else the only one of the app.

        Raises:
            UsageError: There are several, and no client yet.
        """
        return self._ponds.pond

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: Iterable[str] | None = None,
        codec: ClientCodec = POND,
        wait: float | None = None,
    ) -> ConnectedClient:
        """Connect a WebSocket: `async with client.connect("/ws/socket?user=ann") as ann:`.

        An event stream, if that is this client's transport.

        Args:
            subprotocols: What it offers; an event stream has none.

        Raises:
            ConnectionRefused: The app did not admit it.
            BaseException: What the handler has raised, unless the test expects it.
        """
        if self._transport == "sse":
            return self.connect_sse(url, headers=headers, codec=codec, wait=wait)

        async def open_session(_: str) -> Session:
            return await self.driver.connect_websocket(
                url,
                headers=headers,
                subprotocols=subprotocols,
                codec=codec,
                extensions=_EXTENSIONS,
            )

        return ConnectedClient(open_session, self._ponds, url, self.wait if wait is None else wait)

    def connect_sse(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        codec: ClientCodec = POND,
        wait: float | None = None,
    ) -> ConnectedClient:
        """Connect an event stream: `async with client.connect_sse(url) as bob:`."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())

        async def open_session(last_event_id: str) -> Session:
            own = [("Last-Event-ID", last_event_id)] if last_event_id else []
            return await self.driver.connect_sse(url, headers=[*pairs, *own], codec=codec)

        return ConnectedClient(open_session, self._ponds, url, self.wait if wait is None else wait)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes = b"",
    ) -> HTTPAnswer:
        """Make a request to the app, for instance to a route that broadcasts."""
        return await self.driver.call_http(
            path, method=method, headers=headers, json=json, body=body
        )

    async def settle(self, *, wait: float | None = None) -> None:
        """Wait until all that clients have sent is handled, without asserting anything."""
        await self._ponds.settle(self.wait if wait is None else wait)
        self._ponds.raise_failure()

    def expect_errors(self) -> AbstractContextManager[list[ErrorContext]]:
        """Let handlers raise within the block: `with client.expect_errors() as errors:`."""
        return self._ponds.expect_errors()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Run the app's lifespan around the block, as a server does.

        Raises:
            RuntimeError: The app did not start; the error has its message.
        """
        session = await self.driver.open_lifespan()
        answer = await session.startup()
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"The app did not start: {answer.get('message', '')}")
        try:
            yield
        finally:
            await session.shutdown()
