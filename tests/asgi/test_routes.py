"""The event stream of the SSE transport, through the driver."""

import json
import logging
from typing import Any

import anyio
import pytest
from pondsocket_asgi.testing import ASGITestDriver
from pondsocket_common import SSEDecoder

from tests.asgi.conftest import MakePond, Pond, join, overflow, say


async def test_stream_opens_with_its_headers_a_comment_and_the_greeting(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/socket")
    assert (stream.accepted, stream.status) == (True, 200)
    assert dict(stream.headers) == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "x-connection-id": stream.connection_id,
    }
    first = await stream.receive_frame_bytes()
    assert first.startswith(b":")
    (event,) = SSEDecoder().feed(first)
    assert event.event == "CONNECTION"
    payload = json.loads(event.data)["payload"]
    assert payload["connectionId"] == stream.connection_id
    assert payload["id"] != stream.connection_id
    assert len(stream.connection_id) >= 32
    await stream.disconnect()
    assert await pond.is_empty()


@pytest.mark.parametrize(
    ("query", "event"), [("", "said"), ("sse=unnamed", "message"), ("sse=other", "said")]
)
async def test_events_are_named_unless_asked_otherwise(pond: Pond, query: str, event: str) -> None:
    stream = await pond.driver.connect_sse("/socket", query_string=query)
    await join(stream)
    await say(stream, "hello")
    chunk = await stream.receive_frame_bytes()
    assert [each.event for each in SSEDecoder().feed(chunk)] == [event]
    assert (b"event:" in chunk) is (event == "said")
    await stream.disconnect()


async def test_what_is_queued_is_written_in_one_piece(pond: Pond) -> None:
    stream = await pond.join_sse()
    messages = [
        {
            "action": "BROADCAST",
            "event": "say",
            "channelName": "/chat/1",
            "requestId": str(number),
            "payload": {"number": number},
        }
        for number in range(3)
    ]
    assert (await pond.driver.sse_push(stream.connection_id, messages)).status == 204
    chunk = await stream.receive_frame_bytes()
    assert [json.loads(e.data)["payload"] for e in SSEDecoder().feed(chunk)] == [
        {"number": number} for number in range(3)
    ]
    await stream.disconnect()


async def test_idle_stream_carries_comments(make_pond: MakePond) -> None:
    pond = make_pond(sse_keepalive_seconds=0.01)
    stream = await pond.driver.connect_sse("/socket")
    await stream.receive_event()
    for _ in range(3):
        assert await stream.receive_frame_bytes() == b":\n"
    await stream.disconnect()


async def test_stalled_stream_gets_no_pile_of_comments(make_pond: MakePond) -> None:
    pond = make_pond(sse_keepalive_seconds=0.001)
    stream = await pond.driver.connect_sse("/socket")
    await stream.receive_event()
    stream.stop_reading()
    stream.outbox.clear()
    with pytest.raises(TimeoutError):
        await stream.receive_frame_bytes(wait=0.05)
    stream.resume_reading()
    assert await stream.receive_frame_bytes() == b":\n"
    assert len(stream.outbox) <= 1
    await stream.disconnect()


@pytest.mark.parametrize("accept", ["*/*", "text/html", ""])
async def test_a_get_that_wants_no_stream_is_not_found(pond: Pond, accept: str) -> None:
    status, body = await pond.driver.call_http("/socket", headers={"Accept": accept})
    assert status == 404
    assert "not found" in json.loads(body)["message"]
    status, body = await pond.driver.call_http("/socket")
    assert status == 404


async def test_unknown_endpoint_is_not_found(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/nowhere")
    assert (stream.accepted, stream.closed, stream.status) == (False, True, 404)
    assert "not found" in json.loads(stream.body)["message"].lower()
    await stream.disconnect()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("decline=401", 401),
        ("decline=4403", 403),
        ("decline=7", 403),
        ("silent", 401),
        ("crash", 500),
        ("bad=%FF", 400),
    ],
)
async def test_refusal_is_a_response_with_a_json_body(pond: Pond, query: str, status: int) -> None:
    stream = await pond.driver.connect_sse("/socket", query_string=query)
    assert (stream.status, stream.accepted, stream.connection_id) == (status, False, "")
    assert stream.headers["content-type"] == "application/json"
    assert int(stream.headers["content-length"]) == len(stream.body)
    assert json.loads(stream.body).keys() == {"error", "code", "message"}
    assert json.loads(stream.body)["code"] == status
    with pytest.raises(ConnectionError, match=f"refused with status {status}"):
        await stream.receive_event()
    await stream.disconnect()
    assert await pond.is_empty()


async def test_a_closed_pond_refuses_and_says_when_to_come_back(pond: Pond) -> None:
    await pond.pond.close()
    stream = await pond.driver.connect_sse("/socket")
    assert stream.status == 503
    assert int(stream.headers["retry-after"]) > 0
    await stream.disconnect()


@pytest.mark.parametrize("root_path", ["", "/ws"])
async def test_stream_and_post_work_below_a_mount(pond: Pond, root_path: str) -> None:
    driver = ASGITestDriver(pond.app, root_path=root_path)
    stream = await driver.connect_sse("/socket/")
    await join(stream)
    assert stream.posted == [(204, b"")]
    assert await driver.sse_disconnect(stream.connection_id) == (204, b"")
    await stream.wait_ended()


async def test_a_vanished_client_leaves_its_channels(pond: Pond) -> None:
    staying = await pond.join_websocket()
    leaving = await pond.join_sse()
    await leaving.disconnect()
    assert pond.left == ["connection_closed"]
    await say(staying, "bye")
    assert (await staying.receive_event_named("said"))["payload"] == {"text": "bye"}
    await staying.disconnect()


async def test_both_transports_talk_to_each_other(pond: Pond) -> None:
    socket = await pond.join_websocket()
    stream = await pond.join_sse()
    for sender in (socket, stream):
        await say(sender, "hello")
        for receiver in (socket, stream):
            assert (await receiver.receive_event_named("said"))["payload"] == {"text": "hello"}
    await socket.disconnect()
    await stream.disconnect()


async def test_cancelling_the_call_leaves_nothing_behind(pond: Pond) -> None:
    stream = await pond.join_sse()
    stream.cancel()
    await stream.wait_ended()
    assert pond.left == ["connection_closed"]
    assert await pond.is_empty()


async def test_a_send_that_raises_ends_the_stream_quietly(
    pond: Pond, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def fail_at_broadcast(message: Any) -> None:
            if b"said" in message.get("body", b""):
                raise OSError("gone")
            await send(message)

        await pond.app(scope, receive, fail_at_broadcast)

    caplog.set_level(logging.DEBUG, "pondsocket.asgi")
    stream = await ASGITestDriver(app).connect_sse("/socket")
    await join(stream)
    await say(stream, "hello")
    await stream.wait_ended()
    assert await pond.is_empty()
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


async def test_slow_consumer_is_closed_and_others_keep_receiving(make_pond: MakePond) -> None:
    pond = make_pond(outbox_frames=8)
    slow = await pond.join_sse()
    quick = await pond.join_sse()
    await overflow(pond, slow, quick)
    await slow.wait_ended()
    assert slow.closed
    await quick.disconnect()


async def test_server_close_ends_the_body_after_what_was_queued(pond: Pond) -> None:
    stream = await pond.join_sse()
    await anyio.wait_all_tasks_blocked()
    await pond.pond.close()
    goodbye = await stream.receive_event_named("GOODBYE")
    assert goodbye["payload"]["reconnect"] is True
    with pytest.raises(ConnectionError, match="closed"):
        await stream.receive_event()
    await stream.wait_ended()
