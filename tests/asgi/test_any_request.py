"""Requests of any bytes: each is answered, and none raises."""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pondsocket import ConnectRequest
from pondsocket.adapter import Refusal
from pondsocket_asgi._scope import announced_length, connect_request, is_json
from pondsocket_common import Headers, parse_cookies

from tests.asgi.conftest import Pond

NAMES: Final = st.sampled_from(
    [
        b"accept", b"access-control-request-headers", b"content-length", b"content-type",
        b"cookie", b"host", b"origin", b"sec-websocket-key", b"x-connection-id",
    ]
)  # fmt: skip
VALUES: Final = st.sampled_from(
    [b"text/event-stream", b"application/json", b"http://testserver", b"testserver", b"null", b"5"]
)
RAW_HEADERS: Final = st.lists(st.tuples(NAMES | st.binary(), VALUES | st.binary()), max_size=12)
# Halves of a pair among them, as servers may decode paths to.
TEXTS: Final = st.text(st.characters())
METHODS: Final = st.sampled_from(["GET", "POST", "DELETE", "OPTIONS"]) | TEXTS


def scopes(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "method": METHODS,
            "path": st.just("/socket") | TEXTS,
            "headers": RAW_HEADERS,
            "query_string": st.just(b"") | st.binary(),
        },
        optional={
            "root_path": st.sampled_from(["", "/", "/ws"]) | TEXTS,
            "subprotocols": st.lists(TEXTS, max_size=3),
            "client": st.sampled_from([None, ("127.0.0.1", 5), ["::1", "6"]]),
            "extensions": st.sampled_from([{}, {"websocket.http.response": {}}]),
            "http_version": st.sampled_from(["1.0", "1.1", "2", "3"]),
        },
    )


async def call(scope: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """Return what a new pond sends to a client that asks so and then leaves."""
    kind = scope["type"]
    first = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}
    inbox = [first | {"body": body}, {"type": f"{kind}.disconnect", "code": 1006}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return inbox.pop(0) if len(inbox) > 1 else inbox[0]

    async def send(message: Any) -> None:
        sent.append(message)

    await Pond(allowed_origins=["https://*.example.org"]).app(scope, receive, send)
    return sent


@given(scopes("http"), st.binary())
@settings(max_examples=100)
@pytest.mark.anyio
async def test_any_request_has_one_answer(scope: dict[str, Any], body: bytes) -> None:
    start, *rest = await call(scope, body)
    assert start["type"] == "http.response.start"
    assert start["status"] in {200, 204, 400, 403, 404, 405, 413, 415, 426}
    assert all(
        isinstance(part, bytes) and b"\r" not in part and b"\n" not in part
        for pair in start["headers"]
        for part in pair
    )
    assert [each["type"] for each in rest] == ["http.response.body"] * len(rest)
    assert not rest[-1].get("more_body", False) or start["status"] == 200


@given(scopes("websocket"))
@settings(max_examples=100)
@pytest.mark.anyio
async def test_any_handshake_is_accepted_or_refused(scope: dict[str, Any]) -> None:
    start, *_ = await call(scope, b"")
    assert start["type"] in {
        "websocket.accept",
        "websocket.close",
        "websocket.http.response.start",
    }


@given(st.lists(st.tuples(st.binary(), st.binary())), st.binary())
def test_headers_and_queries_of_any_bytes_are_read(
    raw: list[tuple[bytes, bytes]], query_string: bytes
) -> None:
    scope = {"type": "http", "path": "/", "headers": raw, "query_string": query_string}
    request = connect_request(scope, "sse")
    if isinstance(request, Refusal):
        assert request.status == 400
        assert b"%" in query_string or not query_string.isascii()
        return
    for name, value in raw:
        assert value.decode("latin-1") in request.headers.getall(name.decode("latin-1"))
    assert isinstance(request.cookies, dict)
    assert announced_length(request.headers) >= 0
    is_json(request.headers)


PAIRS: Final = st.tuples(
    st.text("abcABC[]{}\"'\\/?@:<>(), \x7f\xe9", min_size=1).filter(str.strip),
    st.text("abc=\"'[]@ \xff"),
)


@given(st.lists(PAIRS), st.lists(PAIRS))
def test_no_odd_cookie_hides_another(
    before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    pairs = [*before, ("session", "secret"), *after]
    header = "; ".join(f"{name}={value}" for name, value in pairs)
    assert parse_cookies(Headers([("cookie", header)]))["session"] == "secret"


@given(st.lists(st.tuples(st.text("abc", max_size=2), st.text("xyz", max_size=3))))
def test_repeated_keys_of_a_query_are_all_there(pairs: list[tuple[str, str]]) -> None:
    query_string = "&".join(f"{name}={value}" for name, value in pairs).encode()
    request = connect_request({"type": "http", "path": "/", "query_string": query_string}, "sse")
    assert isinstance(request, ConnectRequest)
    for name, _ in pairs:
        assert request.query.getall(name) == [value for key, value in pairs if key == name]
