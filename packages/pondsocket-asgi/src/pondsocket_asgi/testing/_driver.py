"""The driver: it makes scopes, and opens sessions with them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import quote

from pondsocket_common import (
    CONNECTION_ID_HEADER,
    EVENT_STREAM,
    POND,
    ClientCodec,
    Headers,
    dump_json,
)

from ._lifespan import LifespanSession
from ._running import ASGIApp, RunningApp
from ._session import response_headers
from ._sse import SSESession
from ._websocket import WebSocketSession

HeaderPairs: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

CLIENT = ("127.0.0.1", 50000)


class HTTPAnswer(tuple[int, bytes]):
    """A response that unpacks into `status, body`, and has `headers` too."""

    headers: Headers

    def __new__(cls, status: int, body: bytes, headers: Headers) -> "HTTPAnswer":
        """Make a response that unpacks into its status and its body."""
        answer = super().__new__(cls, (status, body))
        answer.headers = headers
        return answer

    @property
    def status(self) -> int:
        """The status code."""
        return self[0]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self[1]


class _Stream(NamedTuple):
    """The request that opened a stream."""

    path: str
    query_string: bytes
    headers: RawHeaders


class ASGITestDriver:
    """Drives an ASGI app in memory.

    Paths are as an app gets them, percent-decoded; a query may follow after `?`. Scopes have only
    the extensions that are given. Without any, the app refuses a WebSocket by a close message.

    Args:
        root_path: Where the app is mounted. As ASGI demands, it is put before every path.
    """

    def __init__(self, app: ASGIApp, *, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path
        self._streams: dict[str, _Stream] = {}

    async def connect_websocket(
        self,
        path: str,
        *,
        query_string: bytes | str = b"",
        headers: HeaderPairs | None = None,
        client: tuple[str, int] | None = CLIENT,
        subprotocols: Iterable[str] | None = None,
        extensions: Mapping[str, Mapping[str, Any]] | None = None,
        codec: ClientCodec = POND,
    ) -> WebSocketSession:
        """Open a WebSocket. A refused one is returned too, with `accepted` False.

        Args:
            subprotocols: What the client offers; None: the name of `codec`, if it is another than
                the pond format.
            codec: The wire format that the client speaks.
        """
        if subprotocols is None and codec is not POND:
            subprotocols = (codec.name,)
        scope = self._scope("websocket", path, query_string, _raw(headers))
        scope |= {"scheme": "ws", "client": client, "subprotocols": list(subprotocols or ())}
        if extensions is not None:
            scope["extensions"] = dict(extensions)
        session = WebSocketSession(self.app, scope, codec)
        await session.connect()
        return session

    async def connect_sse(
        self,
        path: str,
        *,
        query_string: bytes | str = b"",
        headers: HeaderPairs | None = None,
        codec: ClientCodec = POND,
    ) -> SSESession:
        """Open a stream. A refused one is returned too, with its `status` and `body`.

        Args:
            codec: The wire format that the client speaks; another than the pond format is asked for
                by `?codec=`.
        """
        if codec is not POND:
            given = query_string.decode() if isinstance(query_string, bytes) else query_string
            query_string = f"{given}&codec={quote(codec.name)}".removeprefix("&")
        raw = _raw(headers)
        if not any(name == b"accept" for name, _ in raw):
            raw.append((b"accept", EVENT_STREAM.encode()))
        scope = {**self._scope("http", path, query_string, raw), "method": "GET"}
        session = SSESession(self.app, scope, self.sse_push, codec)
        await session.connect()
        if session.connection_id:
            query = scope["query_string"]
            self._streams[session.connection_id] = _Stream(path.partition("?")[0], query, raw)
        return session

    async def call_http(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: HeaderPairs | None = None,
        body: bytes | Iterable[bytes] = b"",
        json: object = None,
        query_string: bytes | str = b"",
    ) -> HTTPAnswer:
        """Make one request and return its whole response, as `status, body`.

        Args:
            body: The request's body; an iterable is sent in chunks.
            json: A value that is the body, as JSON; None: `body` is.
        """
        raw = _raw(headers)
        if json is not None:
            body = dump_json(json)
            if not any(name == b"content-type" for name, _ in raw):
                raw.append((b"content-type", b"application/json"))
        scope = self._scope("http", path, query_string, raw) | {"method": method}
        call = _Call(self.app, scope)
        return await call.answer([body] if isinstance(body, bytes) else list(body))

    async def sse_push(self, connection_id: str, payload: object) -> HTTPAnswer:
        """POST a message for a stream; bytes are sent as they are. An unknown id goes to `/`."""
        body = payload if isinstance(payload, bytes) else dump_json(payload)
        return await self._call_stream("POST", connection_id, body)

    async def sse_disconnect(self, connection_id: str) -> HTTPAnswer:
        """DELETE a stream. An unknown id goes to `/`."""
        return await self._call_stream("DELETE", connection_id, b"")

    async def open_lifespan(self) -> LifespanSession:
        """Call the app with a lifespan scope."""
        session = LifespanSession(self.app, {"type": "lifespan", "asgi": _ASGI, "state": {}})
        session.open()
        return session

    async def _call_stream(self, method: str, connection_id: str, body: bytes) -> HTTPAnswer:
        stream = self._streams.get(connection_id, _Stream("/", b"", []))
        own = {b"accept", b"content-type", CONNECTION_ID_HEADER.encode()}
        headers = [pair for pair in stream.headers if pair[0] not in own]
        headers.append((CONNECTION_ID_HEADER.encode(), connection_id.encode("latin-1")))
        if method == "POST":
            headers.append((b"content-type", b"application/json"))
        return await self.call_http(
            stream.path,
            method=method,
            headers=headers,
            body=body,
            query_string=stream.query_string,
        )

    def _scope(
        self, kind: str, path: str, query_string: bytes | str, headers: RawHeaders
    ) -> dict[str, Any]:
        path, _, query = path.partition("?")
        given = query_string.encode() if isinstance(query_string, str) else query_string
        if not any(name == b"host" for name, _ in headers):
            headers = [(b"host", b"testserver"), *headers]
        return {
            "type": kind,
            "asgi": _ASGI,
            "http_version": "1.1",
            "scheme": "http",
            "path": self.root_path + path,
            "raw_path": quote(self.root_path + path).encode(),
            "query_string": b"&".join(part for part in (query.encode(), given) if part),
            "root_path": self.root_path,
            "headers": headers,
            "client": CLIENT,
            "server": ("testserver", 80),
        }


_ASGI = {"version": "3.0", "spec_version": "2.4"}


class _Call:
    """One request, until its response is complete."""

    def __init__(self, app: ASGIApp, scope: Mapping[str, Any]) -> None:
        self._status: int | None = None
        self._headers = Headers()
        self._body = b""
        self._is_complete = False
        self._running = RunningApp(app, scope, self._sent)

    def _sent(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "http.response.start" if self._status is None:
                self._status, self._headers = message["status"], response_headers(message)
            case "http.response.body" if self._status is not None and not self._is_complete:
                self._body += message.get("body", b"")
                if not message.get("more_body", False):
                    self._is_complete = True
                    self._running.feed({"type": "http.disconnect"})
            case unexpected:
                raise RuntimeError(f"The app sent {unexpected!r} where no response awaits it.")

    async def answer(self, chunks: list[bytes]) -> HTTPAnswer:
        for place, chunk in enumerate(chunks or [b""], start=1):
            self._running.feed(
                {"type": "http.request", "body": chunk, "more_body": place < len(chunks)}
            )
        self._running.start()
        await self._running.answered(lambda: self._is_complete, "complete response")
        await self._running.finish()
        assert self._status is not None  # noqa: S101 - a complete response has one
        return HTTPAnswer(self._status, self._body, self._headers)


def _raw(headers: HeaderPairs | None) -> RawHeaders:
    pairs: Iterable[tuple[str | bytes, str | bytes]] = (
        cast(Mapping[str, str], headers).items() if isinstance(headers, Mapping) else headers or ()
    )
    return [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]


def _bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value
