"""The SSE transport's requests: GET opens a stream, POST sends a message, DELETE ends it."""

from typing import Final
from weakref import WeakValueDictionary

import anyio
from pondsocket.adapter import ConnectRequest, Refusal
from pondsocket_common import CONNECTION_ID_HEADER, ErrorTypes

from pondsocket_asgi._origins import HeaderList, preflight
from pondsocket_asgi._resume.positions import Positions
from pondsocket_asgi._scope import (
    Receive,
    Scope,
    Send,
    accepts_event_stream,
    connect_request,
    headers,
    is_json,
    is_old_http,
    refusal_headers,
    relative_path,
    stripped_upgrade,
)
from pondsocket_asgi._transport.event_stream import SSEStream, stream_headers
from pondsocket_asgi._transport.shared import Shared
from pondsocket_asgi._transport.writer import PeerGone, logger, put

from .body import Body
from .client_files import METHODS, client_file

_METHODS: Final = b"GET, POST, DELETE, OPTIONS"
_BODILESS: Final = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE")
_CLOSE: Final = (b"connection", b"close")


async def serve_http(shared: Shared, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request."""
    try:
        await _Exchange(shared, scope, receive, send).serve()
    except PeerGone as gone:
        logger.debug("A peer left before its answer: %r", gone.__cause__)


class _Exchange:
    """One request and its response."""

    def __init__(self, shared: Shared, scope: Scope, receive: Receive, send: Send) -> None:
        self._shared = shared
        self._pond = shared.pond
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = headers(scope)
        options = shared.pond.options
        self._body = Body(receive, self._headers, options.max_post_bytes, options.post_timeout)
        self._always: HeaderList = []  # headers of every response

    async def serve(self) -> None:
        """Serve a file of the client; else check the origin, then answer by method."""
        path = relative_path(self._scope)
        if (name := self._shared.client_paths.get(path)) and self._may_serve_file(path):
            await self._serve_file(name)
            return
        refusal, self._always = self._shared.origins.check(path, self._headers)
        if refusal is not None:
            await self._refuse_body(refusal)
            return
        match self._scope["method"]:
            case "GET":
                await self._open_stream()
            case "POST":
                await self._take_post()
            case "DELETE":
                await self._delete()
            case "OPTIONS":
                asked = preflight(self._headers) if self._always else []
                await self._respond(204, b"", [(b"allow", _METHODS), *asked])
            case method:
                unknown = _invalid(405, f"{method} is not a method of this path.")
                await self._refuse_body(unknown, (b"allow", _METHODS))

    def _may_serve_file(self, path: str) -> bool:
        return self._scope["method"] in METHODS and self._pond.find_endpoint(path) is None

    async def _serve_file(self, name: str) -> None:
        query: bytes = self._scope.get("query_string") or b""
        status, body, named = client_file(name).answer(self._headers, query)
        await self._respond(status, b"" if self._scope["method"] == "HEAD" else body, named)

    async def _open_stream(self) -> None:
        request = connect_request(self._scope, "sse")
        if isinstance(request, Refusal):
            await self._refuse(request)
        elif not accepts_event_stream(self._headers):
            await self._refuse_page()
        elif isinstance(outcome := await self._pond.connect(request), Refusal):
            if self._pond.is_draining and outcome == Refusal.draining():
                await self._say_goodbye(request)
            else:
                await self._refuse(outcome)
        else:
            positions = Positions(outcome, self._shared.cursor_keys)
            positions.resume(request)
            await SSEStream(
                self._scope,
                self._receive,
                self._shared.find_send(self._scope, self._send),
                outcome,
                self._shared.heartbeat,
                positions,
                is_unnamed=_is_unnamed(request),
                headers=self._always,
            ).run()

    async def _say_goodbye(self, request: ConnectRequest) -> None:
        # HTML Living Standard, section 9.2.3: an EventSource gives up for good at any answer but
        # 200. After this stream it comes back, to the next process.
        goodbye = self._pond.goodbye(request)
        body = goodbye.sse_unnamed if _is_unnamed(request) else goodbye.sse
        await self._respond(200, body, stream_headers())

    async def _refuse_page(self) -> None:
        if not stripped_upgrade(self._headers):
            message = "Page not found. There are streams here, for Accept: text/event-stream."
            await self._refuse(_not_found(message))
            return
        # RFC 9110, section 15.5.22: the response names what to upgrade to.
        message = (
            "This WebSocket handshake came as a plain request: a proxy in front does not pass on"
            " its Upgrade and Connection headers, or this server takes no WebSockets."
        )
        upgrade = [(b"upgrade", b"websocket")]
        if is_old_http(self._scope):
            upgrade.append((b"connection", b"upgrade"))
        await self._refuse(_invalid(426, message), *upgrade)

    async def _take_post(self) -> None:
        named = self._named()
        if isinstance(named, Refusal):
            await self._refuse_body(self._or_draining(named))
            return
        connection_id, request = named
        if not self._pond.streams.may_find(connection_id, request):
            await self._refuse_body(self._or_draining(_NOT_FOUND))
            return
        body = await self._read_message()
        if body is None:
            return
        # The client's identity is checked only now, one POST at a time: the application may take
        # long to check it, and messages keep the order in which their bodies arrived.
        async with _lock_of(connection_id):
            refusal = await self._pond.streams.post(connection_id, request, body)
        if refusal is None:
            await self._respond(204, b"")
        else:
            await self._refuse_body(self._or_draining(refusal))

    async def _read_message(self) -> bytes | Refusal | None:
        if not is_json(self._headers):
            return _invalid(415, "A message is sent as application/json.")
        return await self._body.read()

    def _or_draining(self, refusal: Refusal) -> Refusal:
        # A client may well send a message at the moment when a drain closes its stream.
        if refusal.status != 404:
            return refusal
        if not self._pond.is_ready:
            return Refusal.draining()
        self._shared.note_unknown()
        return _NOT_FOUND

    async def _delete(self) -> None:
        named = self._named()
        refusal = named if isinstance(named, Refusal) else await self._pond.streams.end(*named)
        if refusal is None:
            await self._respond(204, b"")
        else:
            await self._refuse(refusal)

    def _named(self) -> tuple[str, ConnectRequest] | Refusal:
        """Return the connection id that the request names, and the request."""
        request: ConnectRequest | Refusal = connect_request(self._scope, "sse")
        if isinstance(request, Refusal):
            return request
        connection_id = self._headers.get(CONNECTION_ID_HEADER)
        if not connection_id:
            return _invalid(400, "The header X-Connection-ID is missing.")
        return connection_id, request

    async def _refuse_body(self, refusal: Refusal, *more: tuple[bytes, bytes]) -> None:
        """Refuse a request whose body, if it has one, was not read to its end."""
        if self._scope["method"] not in _BODILESS:
            await self._body.discard()
            if self._body.is_unread and is_old_http(self._scope):
                more = (*more, _CLOSE)  # no request can follow an unread body
        await self._refuse(refusal, *more)

    async def _refuse(self, refusal: Refusal, *more: tuple[bytes, bytes]) -> None:
        body = refusal.body()
        await self._respond(refusal.status, body, [*refusal_headers(refusal, body), *more])

    async def _respond(self, status: int, body: bytes, named: HeaderList | None = None) -> None:
        named = [*(named or ()), *self._always]
        await put(self._send, {"type": "http.response.start", "status": status, "headers": named})
        await put(self._send, {"type": "http.response.body", "body": body})


def _lock_of(connection_id: str) -> anyio.Lock:
    return _locks.get(connection_id) or _locks.setdefault(
        connection_id, anyio.Lock(fast_acquire=True)
    )


def _is_unnamed(request: ConnectRequest) -> bool:
    return request.query.get("sse") == "unnamed"


def _invalid(status: int, message: str) -> Refusal:
    return Refusal(status, ErrorTypes.INVALID_MESSAGE, message)


def _not_found(message: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", message)


# The same answer for every fault of a connection.
_NOT_FOUND: Final = _not_found("Connection not found.")
# By connection id. An entry lives as long as one of its POSTs holds the lock or waits for it.
_locks: Final[WeakValueDictionary[str, anyio.Lock]] = WeakValueDictionary()
