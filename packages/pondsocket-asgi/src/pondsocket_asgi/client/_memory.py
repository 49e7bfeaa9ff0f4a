"""Connections to an ASGI app in memory: httpx2's own for WebSockets, and one for event streams."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import anyio
import httpx2
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from httpx2.websockets import ASGIWebSocketTransport
from pondsocket.adapter import get_log

from ._transports import CLOSE_SECONDS, HttpTransports

# Any: frameworks have different types for these three.
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

logger: Final = get_log("pondsocket.client")

# How long an app may take to accept; the machine's limit is about the same.
_ACCEPT_SECONDS: Final = 10.0
_CHUNKS: Final = 64


@asynccontextmanager
async def in_memory(app: ASGIApp) -> AsyncIterator[HttpTransports]:
    """Yield what connects to an app, and at the end wait until the app has noticed it."""
    app = _logging(app)
    websockets = ASGIWebSocketTransport(app, initial_receive_timeout=_ACCEPT_SECONDS)
    is_ready, closing = anyio.Event(), anyio.Event()

    async def hold() -> None:
        # In a task of its own: an error or a cancellation that passes through httpx2's transport
        # becomes one that is its own context, and asyncio would search it for ever.
        with anyio.CancelScope(shield=True) as scope:
            async with websockets:
                is_ready.set()
                await closing.wait()
                scope.deadline = anyio.current_time() + CLOSE_SECONDS

    async with anyio.create_task_group() as tasks:
        # Not `start`, which would wait for the end of a task that it cannot cancel.
        tasks.start_soon(hold)
        try:
            await is_ready.wait()
            async with httpx2.AsyncClient(transport=AppTransport(app, websockets, tasks)) as http:
                yield HttpTransports(http)
        finally:
            closing.set()
            tasks.cancel_scope.deadline = anyio.current_time() + CLOSE_SECONDS


def _logging(app: ASGIApp) -> ASGIApp:
    """Return an app whose errors are no one else's: it logs them, and the connection ends."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        has_begun = False

        async def noting(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception:
            logger.exception("The app has failed.")
        if scope["type"] == "websocket":
            # As a server does when the app has returned; after another close no one reads it.
            code = 1011 if has_begun else 4500
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await send({"type": "websocket.close", "code": code, "reason": ""})

    return run


class AppTransport(httpx2.AsyncBaseTransport):
    """Calls an app for each request.

    httpx2's own transport returns an answer when it is complete, which an event stream never is.
    """

    def __init__(self, app: ASGIApp, websockets: ASGIWebSocketTransport, tasks: TaskGroup) -> None:
        self._app = app
        self._websockets = websockets
        self._tasks = tasks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Call the app, and return its answer as soon as it has begun."""
        if request.headers.get("upgrade") == "websocket":
            handshake = _Handshake(self._websockets, request)
            self._tasks.start_soon(handshake.run)
            return await handshake.response()
        call = _Call(self._app, request, await request.aread())
        self._tasks.start_soon(call.run)
        try:
            await call.has_begun.wait()
        except BaseException:
            await call.aclose()
            raise
        return httpx2.Response(call.status, headers=call.headers, stream=call)


class _Handshake:
    """The opening of one WebSocket, which goes on when no one waits for it any more.

    httpx2's transport does not close all that it has opened if it is cancelled in between.
    """

    def __init__(self, websockets: ASGIWebSocketTransport, request: httpx2.Request) -> None:
        self._websockets = websockets
        self._request = request
        self._is_over = anyio.Event()
        self._is_abandoned = False
        self._response: httpx2.Response | None = None
        self._error: Exception | None = None

    async def run(self) -> None:
        """Open it."""
        try:
            self._response = await self._websockets.handle_async_request(self._request)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
        self._is_over.set()
        if self._is_abandoned and self._response is not None:
            await self._response.extensions["network_stream"].aclose()

    async def response(self) -> httpx2.Response:
        """Wait for the answer."""
        try:
            await self._is_over.wait()
        except BaseException:
            self._is_abandoned = True
            raise
        if self._error is not None:
            raise self._error
        assert self._response is not None  # noqa: S101 - or there is an error
        return self._response


class _Call(httpx2.AsyncByteStream):
    """One HTTP request that an app answers."""

    def __init__(self, app: ASGIApp, request: httpx2.Request, body: bytes) -> None:
        self.has_begun = anyio.Event()
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self._app = app
        self._body: bytes | None = body
        self._is_over = anyio.Event()
        self._chunks_in, self._chunks = anyio.create_memory_object_stream[bytes](_CHUNKS)
        url = request.url
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.split(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 123),
            "root_path": "",
        }

    async def run(self) -> None:
        """Call the app. Where it has failed, the answer breaks off, or is 500 if there is none."""
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._chunks_in.close()
            self.has_begun.set()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._is_over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            self.has_begun.set()
        elif message["type"] == "http.response.body" and not self._is_over.is_set():
            if body := message.get("body", b""):
                try:
                    await self._chunks_in.send(body)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # the client has left; it says so by a disconnect
            if not message.get("more_body", False):
                self._is_over.set()
                self._chunks_in.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: MemoryObjectReceiveStream[bytes] = self._chunks
        async for chunk in chunks:
            yield chunk

    async def aclose(self) -> None:
        """Leave."""
        self._is_over.set()
        self._chunks.close()
        self._chunks_in.close()
