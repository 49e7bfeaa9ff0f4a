"""How large and how late a POST may be, and what is answered where it cannot be read."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import pytest
from pondsocket_asgi.testing import SSESession

from tests.asgi.conftest import MakePond, Pond

Receive = Callable[[], Awaitable[Any]]


def message_of(size: int, filler: str = "x") -> bytes:
    """Return an event that is so many bytes long as it stands."""
    envelope = {"action": "BROADCAST", "event": "say", "channelName": "/chat/1", "requestId": "r"}
    empty = json.dumps({**envelope, "payload": {"text": ""}}).encode()
    whole, rest = divmod(size - len(empty), len(filler.encode()))
    text = filler * whole + "x" * rest
    return json.dumps({**envelope, "payload": {"text": text}}, ensure_ascii=False).encode()


async def post_raw(
    pond: Pond, stream: SSESession, receive: Receive, http_version: str = "1.1", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a POST with a body that the test hands out piece by piece."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"content-type": "application/json", "x-connection-id": stream.connection_id, **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/socket",
        "http_version": http_version,
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    with anyio.fail_after(5):
        await pond.app(scope, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


async def never() -> Any:
    await anyio.sleep_forever()


async def unread() -> Any:
    raise AssertionError("the body was asked for")


@pytest.mark.parametrize("filler", ["x", "é", "\N{SNOWMAN}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize(("size", "status"), [(999, 204), (1_000, 204), (1_001, 413)])
async def test_a_message_has_its_limit_at_the_byte(
    make_pond: MakePond, size: int, status: int, filler: str
) -> None:
    pond = make_pond(max_message_bytes=1_000)
    stream = await pond.join_sse()
    body = message_of(size, filler)
    assert len(body) == size
    assert (await pond.driver.sse_push(stream.connection_id, body)).status == status
    await stream.disconnect()


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize(("size", "status"), [(2_000, 204), (2_001, 413)])
async def test_a_body_has_its_limit_at_the_byte(
    make_pond: MakePond, size: int, status: int, is_announced: bool, pieces: int
) -> None:
    pond = make_pond(max_post_bytes=2_000)
    stream = await pond.driver.connect_sse("/socket")
    body = b'[{"action": "ping"}]'.ljust(size)
    step = -(-size // pieces)
    headers = {"X-Connection-ID": stream.connection_id, "Content-Type": "application/json"}
    if is_announced:
        headers["Content-Length"] = str(size)
    answer = await pond.driver.call_http(
        "/socket",
        method="POST",
        headers=headers,
        body=[body[start : start + step] for start in range(0, size, step)],
    )
    assert answer.status == status
    await stream.disconnect()


@pytest.mark.parametrize("length", ["1050577", "99999999999999999999", "9" * 5_000])
async def test_a_body_that_is_announced_far_too_long_is_not_read(
    make_pond: MakePond, length: str
) -> None:
    pond = make_pond(max_post_bytes=2_000)
    stream = await pond.driver.connect_sse("/socket")
    status, headers, body = await post_raw(pond, stream, unread, **{"content-length": length})
    assert (status, json.loads(body)["code"]) == (413, 413)
    assert headers[b"connection"] == b"close"
    await stream.disconnect()


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_that_is_a_little_too_long_is_taken_before_it_is_refused(
    make_pond: MakePond, is_announced: bool
) -> None:
    # Else the server closes the connection with the rest unread: a reset, and the answer is lost.
    pond = make_pond(max_post_bytes=2_000)
    stream = await pond.driver.connect_sse("/socket")
    left = 20

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b" " * 1_000, "more_body": left > 0}

    length = {"content-length": "20000"} if is_announced else {}
    assert (await post_raw(pond, stream, receive, **length))[0] == 413
    assert left == 0
    await stream.disconnect()


REFUSED: Final = [
    ({"x-connection-id": "unknown"}, 404),
    ({"x-connection-id": ""}, 400),
    ({"content-type": "text/plain"}, 415),
    ({"origin": "https://evil.example"}, 403),
]


@pytest.mark.parametrize(("headers", "status"), REFUSED)
async def test_the_body_of_a_post_that_is_refused_is_taken(
    pond: Pond, headers: dict[str, str], status: int
) -> None:
    stream = await pond.driver.connect_sse("/socket")
    left = 20

    async def receive() -> Any:
        nonlocal left
        left -= 1
        assert left >= 0
        return {"type": "http.request", "body": b" " * 1_000, "more_body": left > 0}

    answer = await post_raw(pond, stream, receive, **headers)
    assert (answer[0], left) == (status, 0)
    assert b"connection" not in answer[1]
    await stream.disconnect()


@pytest.mark.parametrize(("headers", "status"), REFUSED)
async def test_the_body_of_a_post_that_is_refused_is_not_waited_for(
    make_pond: MakePond, headers: dict[str, str], status: int
) -> None:
    pond = make_pond(post_timeout=0.02)
    stream = await pond.driver.connect_sse("/socket")
    answer = await post_raw(pond, stream, never, **headers)
    assert (answer[0], answer[1][b"connection"]) == (status, b"close")
    # More than any server takes.
    answer = await post_raw(pond, stream, unread, **headers, **{"content-length": "2000000"})
    assert (answer[0], answer[1][b"connection"]) == (status, b"close")
    await stream.disconnect()


async def test_a_body_that_is_too_long_is_not_waited_for(make_pond: MakePond) -> None:
    pond = make_pond(max_post_bytes=2_000, post_timeout=0.02)
    stream = await pond.driver.connect_sse("/socket")
    assert (await post_raw(pond, stream, never, **{"content-length": "2001"}))[0] == 413
    await stream.disconnect()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"nonsense", {}, 400),
        (b"[]", {}, 400),
        (message_of(1_001), {}, 413),
        (b"[" + message_of(1_001) + b"]", {}, 413),
        (b" " * 2_001, {}, 413),
        (b" ", {"content-length": "2001"}, 413),
        (b"{}", {"content-type": "text/plain"}, 415),
        (None, {}, 408),
    ],
    ids=lambda case: ascii(case)[:20],
)
async def test_a_stream_whose_posts_are_refused_over_and_over_is_closed(
    make_pond: MakePond, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    pond = make_pond(
        max_refusals=3,
        max_message_bytes=1_000,
        max_post_bytes=2_000,
        post_timeout=0.2 if body is None else 10,  # a busy machine may take a while
    )
    stream = await pond.driver.connect_sse("/socket")
    other = await pond.driver.connect_sse("/socket")

    async def receive() -> Any:
        return await never() if body is None else {"type": "http.request", "body": body}

    for _ in range(3):
        assert (await post_raw(pond, stream, receive, **headers))[0] == status
    goodbye = await stream.receive_event_named("GOODBYE")
    assert goodbye["payload"]["code"] == 4429
    assert (await post_raw(pond, stream, receive, **headers))[0] == 404
    assert (await pond.driver.sse_push(other.connection_id, {"action": "ping"})).status == 204
    await stream.disconnect()
    await other.disconnect()


async def test_posts_that_are_no_known_connections_close_none(make_pond: MakePond) -> None:
    pond = make_pond(max_refusals=1, post_timeout=0.02)
    stream = await pond.driver.connect_sse("/socket")
    for headers, status in REFUSED:
        if status != 415:
            assert (await post_raw(pond, stream, never, **headers))[0] == status
    assert (await pond.driver.sse_push(stream.connection_id, {"action": "ping"})).status == 204
    await stream.disconnect()


@pytest.mark.parametrize("length", ["", "-1", "1e9", "0x10", "²", "1,2", "nonsense"])
async def test_a_length_that_is_no_number_says_nothing(pond: Pond, length: str) -> None:
    stream = await pond.driver.connect_sse("/socket")
    headers = {
        "X-Connection-ID": stream.connection_id,
        "Content-Type": "application/json",
        "Content-Length": length,
    }
    answer = await pond.driver.call_http(
        "/socket", method="POST", headers=headers, body=b'{"action": "ping"}'
    )
    assert answer.status == 204
    await stream.disconnect()


async def test_a_body_that_does_not_come_is_cut(make_pond: MakePond) -> None:
    pond = make_pond(post_timeout=0.02)
    stream = await pond.driver.connect_sse("/socket")
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return await never()

    status, headers, body = await post_raw(pond, stream, receive)
    assert (status, headers[b"connection"], asked) == (408, b"close", 1)
    assert json.loads(body).keys() == {"error", "code", "message"}
    assert (await pond.driver.sse_push(stream.connection_id, {"action": "ping"})).status == 204
    await stream.disconnect()


async def test_a_body_that_trickles_is_cut(make_pond: MakePond) -> None:
    pond = make_pond(post_timeout=0.05)
    stream = await pond.driver.connect_sse("/socket")

    async def trickle() -> Any:
        await anyio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    assert (await post_raw(pond, stream, trickle))[0] == 408
    await stream.disconnect()


async def test_http_2_has_no_connection_header(make_pond: MakePond) -> None:
    pond = make_pond(post_timeout=0.02)
    stream = await pond.driver.connect_sse("/socket")
    status, headers, _ = await post_raw(pond, stream, never, http_version="2")
    assert (status, b"connection" in headers) == (408, False)
    status, headers, _ = await post_raw(
        pond, stream, unread, http_version="2", **{"content-length": "9999999"}
    )
    assert (status, b"connection" in headers) == (413, False)
    await stream.disconnect()


async def test_without_a_limit_a_body_may_take_its_time(make_pond: MakePond) -> None:
    pond = make_pond(post_timeout=None, max_post_bytes=None, max_message_bytes=None)
    stream = await pond.driver.connect_sse("/socket")
    body = iter([b'[{"action": "ping"}', b" " * 300_000, b"]"])

    async def slowly() -> Any:
        await anyio.sleep(0.01)
        chunk = next(body)
        return {"type": "http.request", "body": chunk, "more_body": chunk != b"]"}

    assert (await post_raw(pond, stream, slowly))[0] == 204
    await stream.disconnect()


async def test_a_closed_server_says_when_to_come_back(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/socket")
    await pond.pond.close()
    post = await pond.driver.sse_push(stream.connection_id, {"action": "ping"})
    new = await pond.driver.connect_sse("/socket")
    for status, headers, body in (
        (post.status, post.headers, post.body),
        (new.status, new.headers, new.body),
    ):
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert json.loads(body)["code"] == 503
    delete = await pond.driver.sse_disconnect(stream.connection_id)
    assert delete.status == 404
    await stream.disconnect()
    await new.disconnect()


async def test_a_stream_is_spoken_on_while_it_drains(make_pond: MakePond) -> None:
    pond = make_pond(drain_seconds=30)
    stream = await pond.driver.connect_sse("/socket")
    others = [await pond.driver.connect_sse("/socket") for _ in range(3)]
    # The last of them goes at the end of the window, which grows with their number.
    pond.pond.begin_drain(30)
    assert not pond.pond.is_ready
    statuses = [
        (await pond.driver.sse_push(each.connection_id, {"action": "ping"})).status
        for each in (stream, *others)
    ]
    assert set(statuses) <= {204, 503}
    unknown = await pond.driver.call_http(
        "/socket", method="POST", headers={"X-Connection-ID": "unknown"}
    )
    assert unknown.status == 503
    for each in (stream, *others):
        await each.disconnect()


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
async def test_a_handshake_without_its_upgrade_is_told_so(pond: Pond, name: str) -> None:
    answer = await pond.driver.call_http("/socket", headers={name: "13"})
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["connection"] == "upgrade"
    assert "proxy" in json.loads(answer.body)["message"]
    # Who asks for a stream gets one, whatever else it says.
    stream = await pond.driver.connect_sse("/socket", headers={name: "13"})
    assert stream.accepted
    await stream.disconnect()
