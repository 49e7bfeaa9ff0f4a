"""The WebSocket transport, through the driver."""

import json
from http import HTTPStatus
from typing import Any

import pytest
from pondsocket_asgi.testing import ASGITestDriver
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.asgi.conftest import HTTP_RESPONSE, MakePond, Pond, say


async def test_connection_is_accepted_and_greeted_first(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket", subprotocols=["graphql-ws"])
    assert (session.accepted, session.status, session.subprotocol) == (True, 101, None)
    greeting = await session.receive_json()
    assert (greeting["action"], greeting["event"]) == ("CONNECT", "CONNECTION")
    assert greeting["payload"]["connectionId"] == session.connection_id
    assert greeting["payload"]["id"] != session.connection_id
    await session.disconnect()
    assert await pond.is_empty()


async def test_handler_sees_headers_query_and_address(pond: Pond) -> None:
    session = await pond.driver.connect_websocket(
        "/socket?k=1&k=2", headers={"X-Who": "anné"}, client=("10.0.0.7", 4711)
    )
    (ctx,) = pond.contexts
    assert ctx.headers["x-who"] == "anné"
    assert (ctx.query["k"], ctx.query.getall("k")) == ("1", ["1", "2"])
    assert (ctx.route.query["k"], ctx.route.query.get_all("k")) == ("1", ["1", "2"])
    assert (ctx.address, ctx.port) == ("10.0.0.7", 4711)
    await session.disconnect()


@pytest.mark.parametrize(
    ("trusted", "seen"), [("10.0.0.7", ("192.0.2.1", None)), ("10.0.0.8", ("10.0.0.7", 4711))]
)
async def test_behind_a_trusted_proxy_the_address_is_the_clients_and_the_port_unknown(
    pond: Pond, trusted: str, seen: tuple[str, int | None]
) -> None:
    driver = ASGITestDriver(ProxyHeadersMiddleware(pond.app, trusted_hosts=trusted))
    session = await driver.connect_websocket(
        "/socket", headers={"X-Forwarded-For": "192.0.2.1"}, client=("10.0.0.7", 4711)
    )
    (ctx,) = pond.contexts
    assert (ctx.address, ctx.port) == seen
    await session.disconnect()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("decline=401", 401),
        ("decline=429", 429),
        ("decline=599", 599),
        ("decline=4401", 401),
        ("decline=4599", 599),
        ("decline=200", 403),
        ("decline=4000", 403),
        ("decline=-1", 403),
        ("decline=99999", 403),
        ("silent", 401),
        ("crash", 500),
        ("bad=%FF", 400),
    ],
)
async def test_refusal_is_a_close_or_a_true_response(pond: Pond, query: str, status: int) -> None:
    closed = await pond.driver.connect_websocket("/socket", query_string=query)
    assert (closed.accepted, closed.closed, closed.close_code) == (False, True, 4000 + status)
    assert closed.outbox[0]["type"] == "websocket.close"
    await closed.disconnect()

    answered = await pond.driver.connect_websocket(
        "/socket", query_string=query, extensions=HTTP_RESPONSE
    )
    assert (answered.accepted, answered.closed, answered.status) == (False, True, status)
    assert answered.headers["content-type"] == "application/json"
    assert int(answered.headers["content-length"]) == len(answered.body)
    body = json.loads(answered.body)
    assert body["code"] == status
    assert body.keys() == {"error", "code", "message"}
    assert "secret" not in body["message"]
    await answered.disconnect()
    assert await pond.is_empty()


@pytest.mark.parametrize(("status", "sendable"), [(499, 400), (599, 500), (403, 403)])
async def test_a_status_that_a_server_cannot_send_goes_as_the_first_of_its_class(
    pond: Pond, status: int, sendable: int
) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        # As uvicorn does with `--ws websockets`.
        HTTPStatus(message.get("status", 200))
        sent.append(message)

    query = b"decline=%d" % status
    scope = {
        "type": "websocket",
        "path": "/socket",
        "query_string": query,
        "extensions": HTTP_RESPONSE,
    }
    await pond.app(scope, receive, send)
    start, body = sent
    assert start["status"] == sendable
    assert json.loads(body["body"])["code"] == status


async def test_unknown_endpoint_is_refused_with_404(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/nowhere", extensions=HTTP_RESPONSE)
    assert (session.status, json.loads(session.body)["code"]) == (404, 404)
    await session.disconnect()


async def test_a_closed_pond_refuses_and_says_when_to_come_back(pond: Pond) -> None:
    await pond.pond.close()
    session = await pond.driver.connect_websocket("/socket", extensions=HTTP_RESPONSE)
    assert session.status == 503
    assert int(session.headers["retry-after"]) > 0
    await session.disconnect()


async def test_undecodable_headers_do_no_harm(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket", headers=[(b"x-a", b"\xff\x80")])
    assert session.accepted
    await session.disconnect()


@pytest.mark.parametrize(
    ("root_path", "path"),
    [("", "/socket"), ("", "/socket/"), ("/ws", "/socket"), ("/a/b", "/socket")],
)
async def test_endpoint_answers_below_its_mount(pond: Pond, root_path: str, path: str) -> None:
    driver = ASGITestDriver(pond.app, root_path=root_path)
    session = await driver.connect_websocket(path)
    assert session.accepted
    await session.disconnect()
    outside = await driver.connect_websocket("/ws" + path)
    assert not outside.accepted
    await outside.disconnect()


async def test_binary_frames_are_utf8_json(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket")
    await session.receive_json()
    await session.send_text(b'{"action": "ping"}')
    assert (await session.receive_json())["event"] == "PONG"
    await session.send_text(b"\xff\xfe")
    assert (await session.receive_json())["event"] == "INVALID_MESSAGE"
    await session.disconnect()


@pytest.mark.parametrize("filler", ["a", "é", "\N{SNOWMAN}", "\N{GRINNING FACE}"])
async def test_message_over_the_limit_ends_the_connection(make_pond: MakePond, filler: str) -> None:
    pond = make_pond(max_message_bytes=256)
    session = await pond.join_websocket()
    whole, rest = divmod(256, len(filler.encode()))
    largest = filler * whole + "a" * rest
    await session.send_text(largest)
    await session.send_text(largest.encode())
    for _ in range(2):
        assert (await session.receive_json())["event"] == "INVALID_MESSAGE"
    await session.send_text(largest + "a")
    goodbye = await session.receive_event_named("GOODBYE")
    assert (goodbye["payload"]["code"], goodbye["payload"]["reconnect"]) == (1009, False)
    with pytest.raises(ConnectionError, match="1009"):
        await session.receive_json()
    await session.disconnect()
    assert pond.left == ["connection_closed"]


async def test_lone_surrogates_are_answered(pond: Pond) -> None:
    session = await pond.driver.connect_websocket("/socket")
    await session.receive_json()
    await session.send_text("\ud800" * 20_000)
    assert (await session.receive_json())["event"] == "INVALID_MESSAGE"
    await session.disconnect()


async def test_a_vanished_client_leaves_its_channels(pond: Pond) -> None:
    staying = await pond.join_websocket()
    leaving = await pond.join_websocket()
    await leaving.disconnect(1006)
    await say(staying, "bye")
    assert (await staying.receive_event_named("said"))["payload"] == {"text": "bye"}
    await staying.disconnect()
    assert pond.left == ["connection_closed"] * 2
    assert await pond.is_empty()


async def test_a_client_that_leaves_before_the_handshake_is_ignored(pond: Pond) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await pond.app({"type": "websocket", "path": "/socket"}, receive, send)
    assert pond.contexts == []
