"""The test driver itself, with apps made by hand."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession

from tests.asgi.conftest import Pond, join, say
from tests.virtual_time import jumping_loops

# On a busy machine, too, an answer comes before its limit.
anyio_backend = jumping_loops


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what is received, until the peer leaves."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "echo"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


def failing_at(place: str) -> Callable[[Any, Any, Any], Any]:
    """Return an app that raises before, while or after a connection is open."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if place == "handshake":
            raise LookupError(place)
        await send({"type": "websocket.accept"})
        await receive()
        raise LookupError(place)

    return app


async def test_quick_start_of_the_package_page(pond: Pond) -> None:
    driver = pond.driver
    session = await driver.connect_websocket("/socket")
    await session.send_client_message(action="JOIN_CHANNEL", channel_name="/chat/1", event="join")
    assert (await session.receive_json())["event"] == "CONNECTION"
    assert (await session.receive_json())["event"] == "ACKNOWLEDGE"
    await session.disconnect()
    sse = await driver.connect_sse("/socket")
    message = {
        "action": "JOIN_CHANNEL",
        "channelName": "/chat/1",
        "event": "join",
        "requestId": "1",
        "payload": {},
    }
    status, _ = await driver.sse_push(sse.connection_id, message)
    assert status == 204
    assert (await sse.receive_event())["event"] == "CONNECTION"
    assert (await sse.receive_event())["event"] == "ACKNOWLEDGE"
    await sse.disconnect()
    lifespan = await driver.open_lifespan()
    await lifespan.startup()
    await lifespan.shutdown()


async def test_request_id_is_returned_and_made_where_none_is_given(pond: Pond) -> None:
    session = await pond.join_websocket()
    made = await session.send_client_message(
        action="LEAVE_CHANNEL", channel_name="/chat/1", event="leave"
    )
    assert (await session.receive_json())["requestId"] == made
    given = await session.send_client_message(
        action="LEAVE_CHANNEL", channel_name="/chat/1", event="leave", request_id="mine"
    )
    assert given == "mine"
    assert (await session.receive_json())["requestId"] == "mine"
    await session.disconnect()


async def test_outbox_holds_what_was_sent_and_not_received(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket")
    await anyio.wait_all_tasks_blocked()
    assert [message["type"] for message in session.outbox] == ["websocket.send"]
    assert (await session.receive_message())["type"] == "websocket.send"
    assert session.outbox == []
    await session.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_the_next_of_the_outbox_is_awaited_or_read(pond: Pond, transport: str) -> None:
    session: WebSocketSession | SSESession
    if transport == "websocket":
        session, kind = await pond.driver.connect_websocket("/socket"), "websocket.send"
    else:
        session, kind = await pond.driver.connect_sse("/socket"), "http.response.body"
    first = await session.outbox.get()
    assert first["type"] == kind
    await join(session)
    await say(session, "hi")
    await anyio.wait_all_tasks_blocked()
    waiting = list(session.outbox)
    assert len(session.outbox) == len(waiting) >= 1
    assert session.outbox[0] == waiting[0]
    assert await session.outbox.get(wait=0.1) == waiting[0]
    assert session.outbox == waiting[1:]
    while session.outbox:
        await session.outbox.get()
    with pytest.raises(TimeoutError, match=r"No message within 0\.01 s"):
        await session.outbox.get(wait=0.01)
    await session.disconnect()
    with pytest.raises(ConnectionError):
        await session.outbox.get()


async def test_a_message_that_is_still_to_come_is_awaited(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket")
    await session.outbox.get()
    await join(session)
    came: list[object] = []

    async def wait() -> None:
        came.append(await session.outbox.get())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not came
        await say(session, "hi")
    (message,) = came
    assert '"hi"' in str(message)
    await session.disconnect()


async def test_sessions_are_closed_in_any_order(pond: Pond) -> None:
    sessions = [await pond.driver.connect_websocket("/socket") for _ in range(4)]
    for place in (1, 3, 0, 2):
        await sessions[place].disconnect()
        assert sessions[place].closed
        await sessions[place].disconnect()
    assert await pond.is_empty()


async def test_sessions_are_used_from_several_tasks() -> None:
    driver = ASGITestDriver(echo)

    async def talk(number: int) -> None:
        session = await driver.connect_websocket("/")
        await session.send_json({"number": number})
        assert await session.receive_json() == {"number": number}
        await session.disconnect()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(talk, number)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sessions_left_open_end_with_the_loop(backend: str) -> None:
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await echo(scope, receive, send)
        finally:
            ended.append(scope["path"])

    async def leave_open() -> None:
        driver = ASGITestDriver(app)
        await driver.connect_websocket("/forgotten")
        await driver.connect_websocket("/kept")

    anyio.run(leave_open, backend=backend)
    assert sorted(ended) == ["/forgotten", "/kept"]


async def test_an_error_before_the_accept_is_raised_by_connect() -> None:
    with pytest.raises(LookupError, match="handshake"):
        await ASGITestDriver(failing_at("handshake")).connect_websocket("/")


async def test_a_later_error_is_raised_by_the_next_receive() -> None:
    session = await ASGITestDriver(failing_at("later")).connect_websocket("/")
    await session.send_text("go")
    with pytest.raises(LookupError, match="later"):
        await session.receive_json()
    await session.disconnect()


async def test_a_later_error_is_raised_by_disconnect() -> None:
    session = await ASGITestDriver(failing_at("later")).connect_websocket("/")
    with pytest.raises(LookupError, match="later"):
        await session.disconnect()
    assert session.closed


async def test_a_wait_has_a_limit_and_says_what_had_come() -> None:
    session = await ASGITestDriver(echo).connect_websocket("/")
    await session.send_json({"event": "other"})
    await session.receive_json()
    with pytest.raises(TimeoutError, match=r"No message within 0\.01 s; .*other"):
        await session.receive_json(wait=0.01)
    await session.disconnect()


async def test_an_event_that_does_not_come_is_missed_by_name() -> None:
    session = await ASGITestDriver(echo).connect_websocket("/")
    for _ in range(3):
        await session.send_json({"event": "other"})
    with pytest.raises(TimeoutError, match="No event 'mine' among 2, but 'other', 'other'"):
        await session.receive_event_named("mine", attempts=2)
    with pytest.raises(TimeoutError, match="No event 'mine', but 'other'"):
        await session.receive_event_named("mine", wait=0.01)
    await session.disconnect()


async def test_an_app_that_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pondsocket_asgi.testing._running.ANSWER_SECONDS", 0.01)
    cancelled = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    session = await ASGITestDriver(app).connect_websocket("/")
    with pytest.raises(TimeoutError, match="No end of the app"):
        await session.disconnect()
    await anyio.wait_all_tasks_blocked()
    assert cancelled


async def test_a_close_is_shown_and_reading_on_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4403, "reason": "out"})
        assert (await receive())["type"] == "websocket.connect"
        assert await receive() == {"type": "websocket.disconnect", "code": 4403}

    session = await ASGITestDriver(app).connect_websocket("/")
    for _ in range(2):
        with pytest.raises(ConnectionError, match="closed this WebSocket with 4403 'out'"):
            await session.receive_json()
    assert (session.closed, session.close_code, session.close_reason) == (True, 4403, "out")
    assert (await session.receive_message())["code"] == 4403
    with pytest.raises(ConnectionError):
        await session.receive_message()
    await session.disconnect()


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "websocket.send", "text": ""}],
        [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
        [{"type": "websocket.accept"}, {"type": "websocket.http.response.body", "body": b""}],
        [{"type": "websocket.close"}, {"type": "websocket.send", "text": ""}],
        [{"type": "http.response.start", "status": 200}],
    ],
)
async def test_messages_that_no_server_takes_are_errors(messages: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def connect_and_wait() -> None:
        await (await ASGITestDriver(app).connect_websocket("/")).wait_ended()

    with pytest.raises(RuntimeError, match="The app sent"):
        await connect_and_wait()


async def test_sends_to_a_peer_that_left_raise_oserror() -> None:
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await send({"type": "websocket.send", "text": ""})
        except OSError as error:
            errors.append(error)

    session = await ASGITestDriver(app).connect_websocket("/")
    await session.disconnect()
    assert len(errors) == 1


async def test_path_query_and_headers_of_a_stream_are_remembered() -> None:
    seen: list[tuple[str, str, bytes, dict[bytes, bytes]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["path"], scope["query_string"], dict(scope["headers"])))
        status = 200 if scope["method"] == "GET" else 204
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"x-connection-id", b"7")],
            }
        )
        await send({"type": "http.response.body"})

    driver = ASGITestDriver(app)
    stream = await driver.connect_sse("/a?x=1", query_string=b"y=2", headers={"Cookie": "c"})
    assert (stream.connection_id, stream.accepted) == ("7", True)
    await driver.sse_push("7", {"a": 1})
    await driver.sse_disconnect("7")
    await driver.sse_push("unknown", b"raw")
    assert [each[:3] for each in seen] == [
        ("GET", "/a", b"x=1&y=2"),
        ("POST", "/a", b"x=1&y=2"),
        ("DELETE", "/a", b"x=1&y=2"),
        ("POST", "/", b""),
    ]
    get, post, delete, unknown = (each[3] for each in seen)
    assert get[b"accept"] == b"text/event-stream"
    for headers, connection_id in ((post, b"7"), (delete, b"7"), (unknown, b"unknown")):
        assert headers[b"x-connection-id"] == connection_id
    assert post[b"content-type"] == b"application/json"
    assert [b"cookie" in headers for headers in (get, post, delete, unknown)] == [
        True,
        True,
        True,
        False,
    ]
    await stream.disconnect()


async def test_comments_and_blocks_without_data_are_no_events() -> None:
    chunks = [b": hello\n\n", b"id: 1\n\n", b'data: {"n": 1}\n\ndata: {"n"', b": 2}\n\n"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    stream = await ASGITestDriver(app).connect_sse("/")
    assert [await stream.receive_event() for _ in range(2)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(ConnectionError):
        await stream.receive_event()
    await stream.disconnect()

    stream = await ASGITestDriver(app).connect_sse("/")
    assert [await stream.receive_frame_bytes() for _ in chunks] == chunks
    await stream.disconnect()


async def test_call_http_gives_status_body_and_headers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        headers = [(b"x-method", scope["method"].encode())]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await send({"type": "http.response.body", "body": body[2:]})
        assert (await receive())["type"] == "http.disconnect"

    answer = await ASGITestDriver(app).call_http("/", method="PUT", body=[b"ab", b"", b"cd"])
    status, body = answer
    assert (status, body) == (answer.status, answer.body) == (201, b"abcd")
    assert answer.headers["X-Method"] == "PUT"


async def test_an_app_without_an_answer_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Return at once."""

    driver = ASGITestDriver(app)
    with pytest.raises(RuntimeError, match="returned without complete response"):
        await driver.call_http("/")
    with pytest.raises(RuntimeError, match="returned without response"):
        await driver.connect_sse("/")
    with pytest.raises(RuntimeError, match="returned without accept or refusal"):
        await driver.connect_websocket("/")
    lifespan = await driver.open_lifespan()
    with pytest.raises(RuntimeError, match=r"returned without answer to lifespan\.startup"):
        await lifespan.startup()


async def test_root_path_prefixes_every_path() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["root_path"], scope.get("extensions")))
        await send({"type": "websocket.close"})

    driver = ASGITestDriver(app, root_path="/ws")
    session = await driver.connect_websocket("/socket")
    await session.disconnect()
    session = await driver.connect_websocket("/socket", extensions={"a": {}})
    await session.disconnect()
    assert seen == [("/ws/socket", "/ws", None), ("/ws/socket", "/ws", {"a": {}})]
    assert json.dumps(session.status) == "403"
