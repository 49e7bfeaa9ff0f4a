"""Translates ASGI scopes into the core's types. Pure: scopes in, values out.

The path relative to the mount follows the ASGI specification's `root_path`. Hosts differ: most
leave the full path in `path`, some strip the mount from it, and `root_path` may begin with an
app-wide `root_path` of the host that `path` does not have.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from pondsocket.adapter import ConnectRequest, Refusal
from pondsocket_common import EVENT_STREAM, ErrorTypes, Headers, QueryParams

# Any: the only type that fits the dict types of Starlette, Litestar and asgiref.
Scope: TypeAlias = Mapping[str, Any]
Message: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

Transport: TypeAlias = Literal["websocket", "sse"]

# The extension by which `fastlane` gives its lane to a WebSocket's transport.
FAST_LANE: Final = "pondsocket.fastlane"

_NO_QUERY: Final = QueryParams()
_SUBPROTOCOL: Final = b"sec-websocket-protocol"


def connect_request(scope: Scope, transport: Transport) -> ConnectRequest | Refusal:
    """Build a peer's request to connect; a Refusal if the query is not valid UTF-8."""
    query_string = scope.get("query_string")
    try:
        query = QueryParams(_query_pairs(query_string)) if query_string else _NO_QUERY
    except UnicodeDecodeError:
        return Refusal(400, ErrorTypes.INVALID_MESSAGE, "The query is not valid UTF-8.")
    raw, offered = _raw_headers(scope), _subprotocols(scope)
    if offered and not any(name.lower() == _SUBPROTOCOL for name, _ in raw):
        # uvicorn with wsproto takes it out of the headers.
        raw = [*raw, (_SUBPROTOCOL, ", ".join(offered).encode("latin-1", "replace"))]
    host, port = address(scope)
    return ConnectRequest(
        path=relative_path(scope),
        headers=Headers.of_bytes(raw),
        query=query,
        address=host,
        port=port,
        transport=transport,
        subprotocols=offered,
        scope=MappingProxyType(scope),
    )


def _subprotocols(scope: Scope) -> tuple[str, ...]:
    """Return the subprotocols that a WebSocket client offers."""
    given = scope.get("subprotocols")
    if not given:
        return ()
    given = (given,) if isinstance(given, str) else tuple(given)
    if any("," in each for each in given):  # granian gives the header's text, as if it were one
        return tuple(name.strip() for each in given for name in each.split(","))
    return given


def relative_path(scope: Scope) -> str:
    """Return the path below the mount, without a trailing slash. It is not decoded again."""
    path: str = scope["path"]
    if scope.get("root_path"):
        for mount in _mounts(scope):
            if _is_below(path, mount):
                path = path[len(mount) :]
                break
    return path.removesuffix("/") or "/"


def _mounts(scope: Scope) -> Iterator[str]:
    root: str = (scope.get("root_path") or "").rstrip("/")
    if root:
        yield root
        app_root: str = (scope.get("app_root_path") or "").rstrip("/")
        if app_root and root != app_root and _is_below(root, app_root):
            yield root[len(app_root) :]


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def headers(scope: Scope) -> Headers:
    """Return the request headers."""
    return Headers.of_bytes(_raw_headers(scope))


def _raw_headers(scope: Scope) -> Sequence[tuple[bytes, bytes]]:
    raw: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    # Some servers give an iterator, which can be read only once.
    return raw if isinstance(raw, list | tuple) else list(raw)


def _query_pairs(query_string: bytes) -> Iterator[tuple[str, str]]:
    for field in query_string.split(b"&"):
        if field:
            name, _, value = field.replace(b"+", b" ").partition(b"=")
            yield unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()


def address(scope: Scope) -> tuple[str | None, int | None]:
    """Return the peer's IP address and port. None for what the server does not know.

    That is both on a UNIX socket, and the port behind a proxy that it trusts: uvicorn says 0.
    """
    host, port, *_ = scope.get("client") or (None, None)
    if not isinstance(port, int):
        text = str(port)  # which some servers give
        port = int(text) if text.isdecimal() else 0
    return (host, port or None) if host else (None, None)


def accepts_event_stream(request_headers: Headers) -> bool:
    """Return whether Accept names text/event-stream. `*/*` is not enough: crawlers send it."""
    ranges = ",".join(request_headers.getall("accept")).split(",")
    return any(_media_type(each) == EVENT_STREAM for each in ranges)


def is_json(request_headers: Headers) -> bool:
    """Return whether Content-Type is JSON, or a type that ends with +json (RFC 6839, 3.1)."""
    media_type = _media_type(request_headers.get("content-type", ""))
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def announced_length(request_headers: Headers) -> int:
    """Return the Content-Length; 0 if it is missing or not a number."""
    value = request_headers.get("content-length", "")
    if not (value.isascii() and value.isdecimal()):
        return 0
    # No limit has 19 digits, and int() refuses to convert thousands of digits.
    return int(value.lstrip("0")[:19] or "0")


def stripped_upgrade(request_headers: Headers) -> bool:
    """Return whether a plain request was a WebSocket handshake when it left the client."""
    # Proxies drop `Upgrade`, which is for one hop (RFC 9110, section 7.6.1), but pass these on.
    return "sec-websocket-key" in request_headers or "sec-websocket-version" in request_headers


def is_old_http(scope: Scope) -> bool:
    """Return whether `Connection` headers may be sent: HTTP/2 and later forbid them."""
    return str(scope.get("http_version", "1.1")).startswith("1")


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def refusal_headers(refusal: Refusal, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal's response."""
    # content-length always: without it some servers send chunks, which a refused WebSocket
    # handshake cannot have. no-store: a 404 may be cached by default (RFC 9110, 15.5.5).
    named = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return [*named, *encoded(refusal.response_headers())]


def encoded(named: Iterable[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers of the application as ASGI takes them."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in named)
