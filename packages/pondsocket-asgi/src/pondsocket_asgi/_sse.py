"""The Server-Sent Events door: GET opens a stream, POST speaks on it, DELETE ends it."""
from typing import Final

from pondsocket import PondSocket, Refusal, Session
from pondsocket_common import CONNECTION_ID_HEADER, CloseCode, ErrorTypes

from ._outbox import PeerGone, logger, put
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
from ._stream import SSEStream

METHODS: Final = b"GET, POST, DELETE"


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
