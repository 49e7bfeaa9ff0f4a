"""What a scope says, as values."""

from typing import Any

import pytest
from pondsocket import ConnectRequest
from pondsocket.adapter import Refusal
from pondsocket_asgi._scope import (
    accepts_event_stream,
    address,
    connect_request,
    is_json,
    relative_path,
)
from pondsocket_common import Headers


def scope(**parts: Any) -> dict[str, Any]:
    return {"type": "websocket", "path": "/socket", "headers": [], "query_string": b""} | parts


@pytest.mark.parametrize(
    ("path", "root_path", "app_root_path", "relative"),
    [
        pytest.param("/socket", "", "", "/socket", id="bare"),
        pytest.param("/socket/", "", "", "/socket", id="bare, with a slash"),
        pytest.param("/", "", "", "/", id="the root"),
        pytest.param("", "", "", "/", id="no path at all"),
        pytest.param("/ws/socket", "/ws", "", "/socket", id="Starlette's mount"),
        pytest.param("/ws/socket/", "/ws", "", "/socket", id="Starlette's mount, with a slash"),
        pytest.param("/ws/socket", "/ws/", "", "/socket", id="a root_path with a slash"),
        pytest.param("/ws", "/ws", "", "/", id="the mount itself"),
        pytest.param("/ws/", "/ws", "", "/", id="the mount itself, with a slash"),
        pytest.param("/ws/socket", "/pre/ws", "/pre", "/socket", id="FastAPI(root_path=)"),
        pytest.param("/ws/socket", "/pre/ws", "/pre/", "/socket", id="the same, with a slash"),
        pytest.param("/pre/ws/socket", "/pre/ws", "/pre", "/socket", id="--root-path and mount"),
        pytest.param("/socket/", "", "", "/socket", id="Litestar, which strips"),
        pytest.param("/ws/socket", "/ws", "", "/socket", id="uvicorn --root-path"),
        pytest.param("/ws/ws/socket", "/ws", "", "/ws/socket", id="the mount asked for twice"),
        pytest.param("/wsx/socket", "/ws", "", "/wsx/socket", id="no segment boundary"),
        pytest.param("/fix/rt/a", "/prefix/rt", "/pre", "/fix/rt/a", id="none in the root either"),
        pytest.param("/socket", "/ws", "", "/socket", id="a host that strips, with a root_path"),
        pytest.param("/a%2Fb", "", "", "/a%2Fb", id="percent signs are ordinary characters"),
        pytest.param("/ws/\N{LATIN SMALL LETTER E WITH ACUTE}", "/ws", "", "/é", id="not ASCII"),
    ],
)
def test_path_is_relative_to_the_mount(
    path: str, root_path: str, app_root_path: str, relative: str
) -> None:
    parts = scope(path=path, root_path=root_path, app_root_path=app_root_path)
    assert relative_path(parts) == relative


def test_root_path_may_be_missing_or_none() -> None:
    assert relative_path(scope()) == "/socket"
    assert relative_path(scope(root_path=None, app_root_path=None)) == "/socket"


@pytest.mark.parametrize(
    ("query_string", "pairs"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"token=a", {"token": ["a"]}),
        (b"k=1&k=2&other=3&k=", {"k": ["1", "2", ""], "other": ["3"]}),
        (b"flag", {"flag": [""]}),
        (b"a=b=c", {"a": ["b=c"]}),
        (b"=v", {"": ["v"]}),
        (b"n%61me=J%C3%BCrgen+Klopp%2B", {"name": ["Jürgen Klopp+"]}),
        (b"raw=\xc3\xa9", {"raw": ["é"]}),
        (b"half=%4&percent=%zz", {"half": ["%4"], "percent": ["%zz"]}),
        (b"a=1;b=2", {"a": ["1;b=2"]}),
    ],
)
def test_query_is_percent_decoded_and_keeps_repeated_keys(
    query_string: bytes, pairs: dict[str, list[str]]
) -> None:
    request = connect_request(scope(query_string=query_string), "websocket")
    assert isinstance(request, ConnectRequest)
    assert {name: request.query.getall(name) for name in request.query} == pairs


@pytest.mark.parametrize("query_string", [b"a=%FF", b"\xff", b"%C3=1", b"ok=1&a=%ED%A0%80"])
def test_undecodable_query_is_refused(query_string: bytes) -> None:
    refusal = connect_request(scope(query_string=query_string), "sse")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.error) == (400, "INVALID_MESSAGE")


def test_headers_of_any_bytes_are_read() -> None:
    every_byte = bytes(range(256))
    raw = [(b"X-Any", every_byte), (b"x-twice", b"1"), (b"X-Twice", b"2"), (b"\xff", b"")]
    request = connect_request(scope(headers=raw), "websocket")
    assert isinstance(request, ConnectRequest)
    assert request.headers["x-any"].encode("latin-1") == every_byte
    assert request.headers.getall("X-TWICE") == ["1", "2"]


def test_a_scope_with_nothing_optional_is_read() -> None:
    request = connect_request({"type": "http", "path": "/socket"}, "sse")
    assert isinstance(request, ConnectRequest)
    assert (request.path, request.address, request.transport) == ("/socket", None, "sse")
    assert request.port is None


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 5000), ("127.0.0.1", 5000)),
        (["127.0.0.1", "5000"], ("127.0.0.1", 5000)),
        (("::1", 5000), ("::1", 5000)),
        (("10.0.0.7", 0), ("10.0.0.7", None)),
        (("10.0.0.7", None), ("10.0.0.7", None)),
        (("10.0.0.7", "?"), ("10.0.0.7", None)),
        (("", 0), (None, None)),
        (("", None), (None, None)),
        (None, (None, None)),
    ],
)
def test_address_is_the_host_and_the_port_apart(client: object, expected: object) -> None:
    assert address(scope(client=client)) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (["text/event-stream"], True),
        (["Text/Event-Stream;q=0.9"], True),
        (["text/html, text/event-stream , */*"], True),
        (["text/html", "text/event-stream"], True),
        (["*/*"], False),
        (["text/*"], False),
        (["text/event-stream2"], False),
        ([""], False),
        ([], False),
    ],
)
def test_a_stream_is_for_who_accepts_one(accept: list[str], expected: bool) -> None:
    assert accepts_event_stream(Headers(("accept", value) for value in accept)) is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.pond+json", True),
        ("text/plain", False),
        ("text/json+json", False),
        ("application/jsonp", False),
        ("", False),
    ],
)
def test_json_is_known_by_its_media_type(content_type: str, expected: bool) -> None:
    assert is_json(Headers([("content-type", content_type)])) is expected
