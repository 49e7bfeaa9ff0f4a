"""POST, DELETE and what else is asked of the SSE transport."""

import json
from typing import Any

import anyio
import pytest

from tests.asgi.conftest import MakePond, Pond

JSON_TYPE = {"Content-Type": "application/json"}


def event(text: str = "hi", request_id: str = "r1", **parts: object) -> dict[str, object]:
    return {
        "action": "BROADCAST",
        "event": "say",
        "channelName": "/chat/1",
        "requestId": request_id,
        "payload": {"text": text},
    } | parts


async def test_post_is_taken_and_answered_on_the_stream(pond: Pond) -> None:
    stream = await pond.join_sse()
    answer = await pond.driver.sse_push(stream.connection_id, event())
    assert answer == (204, b"")
    assert "content-length" not in answer.headers
    assert (await stream.receive_event_named("said"))["payload"] == {"text": "hi"}
    await stream.disconnect()


async def test_post_of_an_array_is_handled_in_order(pond: Pond) -> None:
    stream = await pond.join_sse()
    batch = [event(str(number)) for number in range(64)]
    assert await pond.driver.sse_push(stream.connection_id, batch) == (204, b"")
    for number in range(64):
        assert (await stream.receive_event())["payload"] == {"text": str(number)}
    await stream.disconnect()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'"text"',
        b'{"action": "BROADCAST"}',
        json.dumps([event(), event(channelName="no slash")]).encode(),
        json.dumps([event()] * 65).encode(),
    ],
)
async def test_post_that_breaks_the_protocol_is_400_and_an_error_frame(
    pond: Pond, body: bytes
) -> None:
    stream = await pond.join_sse()
    status, answer = await pond.driver.sse_push(stream.connection_id, body)
    assert (status, json.loads(answer)["error"]) == (400, "INVALID_MESSAGE")
    frame = await stream.receive_event()
    assert (frame["action"], frame["event"]) == ("ERROR", "INVALID_MESSAGE")
    await stream.disconnect()


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({**JSON_TYPE}, 400, "INVALID_MESSAGE"),
        ({**JSON_TYPE, "X-Connection-ID": ""}, 400, "INVALID_MESSAGE"),
        ({**JSON_TYPE, "X-Connection-ID": "unknown"}, 404, "NOT_FOUND"),
        ({**JSON_TYPE, "X-Connection-ID": "\xff\x00"}, 404, "NOT_FOUND"),
    ],
)
async def test_post_without_a_known_connection_is_refused(
    pond: Pond, headers: dict[str, str], status: int, error: str
) -> None:
    answer = await pond.driver.call_http("/socket", method="POST", headers=headers, body=b"{}")
    assert answer.status == status
    body = json.loads(answer.body)
    assert (body["error"], body["code"]) == (error, status)
    assert body["message"]
    assert int(answer.headers["content-length"]) == len(answer.body)


async def test_post_and_delete_know_neither_public_ids_nor_other_paths(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/socket")
    public_id = (await stream.receive_event())["payload"]["id"]
    for path, connection_id in [
        ("/socket", public_id),
        ("/", stream.connection_id),
        ("/other", stream.connection_id),
        ("/socket/more", stream.connection_id),
    ]:
        for method in ("POST", "DELETE"):
            status, body = await pond.driver.call_http(
                path,
                method=method,
                headers={**JSON_TYPE, "X-Connection-ID": connection_id},
                body=b"{}",
            )
            assert (status, json.loads(body)["message"]) == (404, "Connection not found.")
    await stream.disconnect()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 204),
        ("application/json; charset=utf-8", 204),
        ("application/vnd.pond+json", 204),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
async def test_post_has_to_be_json(pond: Pond, content_type: str | None, status: int) -> None:
    stream = await pond.driver.connect_sse("/socket")
    headers = {"X-Connection-ID": stream.connection_id}
    if content_type is not None:
        headers["Content-Type"] = content_type
    answer = await pond.driver.call_http(
        "/socket", method="POST", headers=headers, body=json.dumps(event()).encode()
    )
    assert answer.status == status
    await stream.disconnect()


async def test_post_over_the_limit_is_refused_while_it_is_read(make_pond: MakePond) -> None:
    pond = make_pond(max_post_bytes=1000)
    stream = await pond.driver.connect_sse("/socket")
    read = 0

    def chunks() -> list[bytes]:
        return [b"x" * 400] * 3 + [b"x" * 262_144] * 10

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def counting() -> Any:
            nonlocal read
            read += 1
            return await receive()

        await pond.app(scope, counting, send)

    pond.driver.app = app
    answer = await pond.driver.call_http(
        "/socket",
        method="POST",
        headers={**JSON_TYPE, "X-Connection-ID": stream.connection_id},
        body=chunks(),
    )
    assert (answer.status, json.loads(answer.body)["error"]) == (413, "INVALID_MESSAGE")
    # What is too long, and 1 MiB of what was coming, so that the answer is not lost in a reset.
    assert read == 3 + 4
    await stream.disconnect()


async def test_message_over_the_limit_in_a_small_body_is_413(make_pond: MakePond) -> None:
    pond = make_pond(max_message_bytes=500, max_post_bytes=5000)
    stream = await pond.driver.connect_sse("/socket")
    for payload in (event("x" * 1000), [event(), event("x" * 1000)]):
        status, body = await pond.driver.sse_push(stream.connection_id, payload)
        assert (status, json.loads(body)["code"]) == (413, 413)
    await stream.disconnect()


async def test_post_in_chunks_is_put_together(pond: Pond) -> None:
    stream = await pond.join_sse()
    whole = json.dumps(event("é☃")).encode()
    status, _ = await pond.driver.call_http(
        "/socket",
        method="POST",
        headers={**JSON_TYPE, "X-Connection-ID": stream.connection_id},
        body=[whole[place : place + 1] for place in range(len(whole))],
    )
    assert status == 204
    assert (await stream.receive_event_named("said"))["payload"] == {"text": "é☃"}
    await stream.disconnect()


async def test_a_client_that_leaves_within_its_body_is_not_answered(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/socket")
    inbox = iter(
        [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(inbox)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = [
        (b"content-type", b"application/json"),
        (b"x-connection-id", stream.connection_id.encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": "/socket", "headers": headers}
    await pond.app(scope, receive, send)
    await stream.disconnect()


async def test_too_many_unhandled_messages_are_429(make_pond: MakePond) -> None:
    pond = make_pond(max_pending_messages=3)
    stream = await pond.join_sse()
    hanging = [event(event="hang", requestId=str(number)) for number in range(3)]
    assert (await pond.driver.sse_push(stream.connection_id, hanging)).status == 204
    answer = await pond.driver.sse_push(stream.connection_id, event())
    assert (answer.status, json.loads(answer.body)["error"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0
    error = await stream.receive_event()
    assert (error["event"], error["requestId"]) == ("RATE_LIMITED", "r1")
    stream.cancel()
    await stream.wait_ended()


async def test_delete_closes_the_stream(pond: Pond) -> None:
    stream = await pond.join_sse()
    assert await pond.driver.sse_disconnect(stream.connection_id) == (204, b"")
    await stream.wait_ended()
    assert stream.closed
    assert pond.left == ["connection_closed"]
    assert (await pond.driver.sse_disconnect(stream.connection_id)).status == 404
    assert (await pond.driver.sse_push(stream.connection_id, event())).status == 404


async def test_delete_without_a_connection_id_is_400(pond: Pond) -> None:
    assert (await pond.driver.call_http("/socket", method="DELETE")).status == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE", "\xff"])
async def test_other_methods_are_not_allowed(pond: Pond, method: str) -> None:
    answer = await pond.driver.call_http("/socket", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST, DELETE, OPTIONS"
    assert json.loads(answer.body)["code"] == 405


async def test_a_peer_that_leaves_before_its_answer_is_no_error(make_pond: MakePond) -> None:
    pond = make_pond(post_timeout=0.02)

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        raise OSError("gone")

    await pond.app({"type": "http", "method": "PUT", "path": "/"}, receive, send)


async def test_the_id_of_a_websocket_is_no_key_to_it_over_http(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket")
    connection_id = (await session.receive_json())["payload"]["connectionId"]
    headers = [(b"x-connection-id", connection_id.encode()), (b"content-type", b"application/json")]
    for method in ("POST", "DELETE"):
        status, _ = await pond.driver.call_http(
            "/socket", method=method, headers=headers, body=b'{"action": "ping"}'
        )
        assert status == 404
    await session.disconnect()
