"""The Server-Sent Events door: GET opens a stream, POST speaks on it, DELETE ends it.

The stream is an HTTP response that stays open (HTML Living Standard, section 9.2).
"""

from collections.abc import Sequence
from typing import Final

import anyio
from pondsocket import Frame, Options, PondSocket, Refusal, Session
from pondsocket_common import CONNECTION_ID_HEADER, EVENT_STREAM, CloseCode, ErrorTypes, sse_comment

from ._outbox import Closing, Outbox, PeerGone, logger, put
from ._scope import (
    Receive,
    Scope,
    Send,
    accepts_event_stream,
    connect_request,
    headers,
    is_json,
    refusal_headers,
    relative_path,
)

METHODS: Final = b"GET, POST, DELETE"
COMMENT: Final = sse_comment()


async def serve_http(pond: PondSocket, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request."""
    try:
        match scope["method"]:
            case "GET":
                await _serve_stream(pond, scope, receive, send)
            case "POST":
                await _take_post(pond, scope, receive, send)
            case "DELETE":
                await _answer(send, _delete(pond, scope))
            case method:
                unknown = _invalid(405, f"{method} is not a method of this path.")
                await _answer(send, unknown, (b"allow", METHODS))
    except PeerGone as gone:
        logger.debug("A peer left before its answer: %r", gone.__cause__)


async def _serve_stream(pond: PondSocket, scope: Scope, receive: Receive, send: Send) -> None:
    request = connect_request(scope, "sse")
    if isinstance(request, Refusal):
        await _answer(send, request)
    elif not accepts_event_stream(request.headers):
        message = "Page not found. There are streams here, for Accept: text/event-stream."
        await _answer(send, _not_found(message))
    elif isinstance(outcome := await pond.connect(request), Refusal):
        await _answer(send, outcome)
    else:
        stream = SSEStream(receive, send, outcome, pond.options)
        stream.is_unnamed = request.query.get("sse") == "unnamed"
        await stream.run()


async def _take_post(pond: PondSocket, scope: Scope, receive: Receive, send: Send) -> None:
    found = _find(pond, scope)
    if isinstance(found, Refusal):
        await _answer(send, found)
    elif not is_json(headers(scope)):
        await _answer(send, _invalid(415, "A message is sent as application/json."))
    elif isinstance(body := await _read(receive, pond.options.max_post_bytes), Refusal):
        await _answer(send, body)
    elif body is not None:
        await _answer(send, found.post(body))


async def _read(receive: Receive, max_bytes: int | None) -> bytes | Refusal | None:
    """The whole body; None where the peer left in the middle of it."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            return _invalid(413, f"A body may have {max_bytes} bytes.")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _delete(pond: PondSocket, scope: Scope) -> Refusal | None:
    found = _find(pond, scope)
    if isinstance(found, Refusal):
        return found
    found.close(CloseCode.NORMAL, "Closed by the client.")
    return None


def _find(pond: PondSocket, scope: Scope) -> Session | Refusal:
    connection_id = headers(scope).get(CONNECTION_ID_HEADER)
    if not connection_id:
        return _invalid(400, "The header X-Connection-ID is missing.")
    # One answer for an unknown id, another path and another transport: it must not tell which.
    session = pond.find_session(connection_id, relative_path(scope))
    if session is None or session.request.transport != "sse":
        return _not_found("Connection not found.")
    return session


def _invalid(status: int, message: str) -> Refusal:
    return Refusal(status, ErrorTypes.INVALID_MESSAGE, message)


def _not_found(message: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", message)


async def _answer(send: Send, refusal: Refusal | None, *more: tuple[bytes, bytes]) -> None:
    status, body, named = 204, b"", list(more)
    if refusal is not None:
        status, body = refusal.status, refusal.body()
        named += refusal_headers(refusal, body)
    await put(send, {"type": "http.response.start", "status": status, "headers": named})
    await put(send, {"type": "http.response.body", "body": body})


class SSEStream(Outbox):
    """One open stream as a session's outlet."""

    def __init__(self, receive: Receive, send: Send, session: Session, options: Options) -> None:
        super().__init__(send, session, options)
        self.is_unnamed = False
        self._receive = receive
        self._keep_alive_seconds = options.sse_keepalive_seconds
        self._wrote_at = anyio.current_time()

    async def pull(self) -> None:
        """Return when the peer is gone; what it says comes by POST."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.lose()

    async def write(self) -> None:
        """Write, and between writes let no more time pass than proxies bear."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_idleness)
            await super().write()
            tasks.cancel_scope.cancel()

    async def _watch_idleness(self) -> None:
        # One timer every 15 s. A time limit around the writer's sleep would be one per frame.
        due = self._wrote_at + self._keep_alive_seconds
        while True:
            await anyio.sleep_until(due)
            due = self._wrote_at + self._keep_alive_seconds
            now = anyio.current_time()
            if due <= now:
                self.nudge()
                due = now + self._keep_alive_seconds

    async def _open(self) -> None:
        named = [
            (b"content-type", EVENT_STREAM.encode()),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (CONNECTION_ID_HEADER.encode(), self._session.connection_id.encode()),
        ]
        await put(self._send, {"type": "http.response.start", "status": 200, "headers": named})
        await self._write(self._take(), COMMENT)

    async def _write(self, frames: Sequence[Frame], before: bytes = b"") -> None:
        if self.is_unnamed:
            body = before + b"".join([frame.sse_unnamed for frame in frames])
        else:
            body = before + b"".join([frame.sse for frame in frames])
        await self._put_body(body, more=True)
        for frame in frames:
            self._written(frame)
        self._wrote_at = anyio.current_time()

    async def _keep_alive(self) -> None:
        await self._write((), COMMENT)

    async def _close(self, _closing: Closing, /) -> None:
        await self._put_body(b"", more=False)

    async def _put_body(self, body: bytes, *, more: bool) -> None:
        await put(self._send, {"type": "http.response.body", "body": body, "more_body": more})
