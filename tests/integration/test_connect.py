"""Connecting: being admitted, and being refused."""

import re

import pytest
from websockets.typing import Subprotocol

from tests.integration.clients import SSEClient, Transport, WebSocketClient, frame
from tests.integration.connector import Connector, Refused, expect_not_found
from tests.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_the_first_message_says_who_one_is(
    connect: Connector, server: Server, transport: Transport
) -> None:
    ann = await connect(transport, f"{server.http_url}/socket")
    payload = ann.hello["payload"]
    assert ann.hello == frame(
        "CONNECT", "CONNECTION", "GATEWAY", ann.hello["requestId"], ann.hello["payload"]
    )
    assert payload.keys() == {"id", "connectionId"}
    # 128 random bits, in whatever alphabet, have at least 22 characters.
    assert re.fullmatch(r"[\w-]{22,}", payload["connectionId"])
    assert payload["id"]
    assert payload["id"] != payload["connectionId"]
    if isinstance(ann, SSEClient):
        assert ann.connection_id == payload["connectionId"]


async def test_the_public_id_is_the_applications_and_the_connection_its_own(
    connect: Connector, server: Server, transport: Transport
) -> None:
    one = await connect(transport, f"{server.http_url}/socket?user=ann")
    other = await connect(transport, f"{server.http_url}/socket?user=ann")
    assert one.hello["payload"]["id"] == other.hello["payload"]["id"] == "ann"
    assert one.hello["payload"]["connectionId"] != other.hello["payload"]["connectionId"]


async def test_the_connection_handlers_reply_comes_second(
    connect: Connector, server: Server, transport: Transport
) -> None:
    ann = await connect(transport, f"{server.http_url}/socket?greet=1")
    welcome = await ann.receive()
    assert welcome == frame(
        "SYSTEM", "welcome", "GATEWAY", welcome["requestId"], {"path": "/socket", "name": ""}
    )


async def test_the_handler_sees_the_address_and_the_port_apart(
    connect: Connector, server: Server, transport: Transport
) -> None:
    ann = await connect(transport, f"{server.http_url}/socket?where=here")
    payload = (await ann.receive())["payload"]
    assert payload == {"address": "127.0.0.1", "port": payload["port"], "asked": "here"}
    assert 0 < payload["port"] < 65_536
    assert payload["port"] != server.port


@pytest.mark.parametrize(
    ("sent", "seen"),
    [("a%20b", "a b"), ("a%2525b", "a%25b"), ("%C5%BDofie", "Žofie"), ("a+b", "a+b")],
)
async def test_a_path_is_percent_decoded_once(
    connect: Connector, server: Server, transport: Transport, sent: str, seen: str
) -> None:
    ann = await connect(transport, f"{server.http_url}/named/{sent}?greet=1")
    welcome = await ann.receive()
    assert welcome["payload"] == {"path": f"/named/{seen}", "name": seen}
    if isinstance(ann, SSEClient):
        assert (await ann.delete()).status_code == 204


async def test_a_last_slash_is_no_other_path(
    connect: Connector, server: Server, transport: Transport
) -> None:
    ann = await connect(transport, f"{server.http_url}/socket/?greet=1")
    assert (await ann.receive())["payload"]["path"] == "/socket"


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("401", 401, "UNAUTHORIZED_CONNECTION"),
        ("429", 429, "UNAUTHORIZED_CONNECTION"),
        ("599", 599, "UNAUTHORIZED_CONNECTION"),
        ("4403", 403, "UNAUTHORIZED_CONNECTION"),
        ("4503", 503, "UNAUTHORIZED_CONNECTION"),
        ("200", 403, "UNAUTHORIZED_CONNECTION"),
        ("1000", 403, "UNAUTHORIZED_CONNECTION"),
        ("silent", 401, "UNAUTHORIZED_CONNECTION"),
        ("crash", 500, "INTERNAL_SERVER_ERROR"),
        ("slow", 504, None),
    ],
)
async def test_a_refusal_is_a_response_with_its_true_status(
    connect: Connector,
    server: Server,
    transport: Transport,
    how: str,
    status: int,
    error: str | None,
) -> None:
    with pytest.raises(Refused) as refused:
        await connect(transport, f"{server.http_url}/refuse/{how}")
    answer = refused.value
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "code", "message"}
    assert body["code"] == status
    assert error is None or body["error"] == error
    assert how.isalpha() or body["message"] == "Not today, Žofie"
    assert b"inner" not in answer.body


async def test_a_path_without_an_endpoint_is_404(
    connect: Connector, server: Server, transport: Transport
) -> None:
    await expect_not_found(connect, transport, f"{server.http_url}/elsewhere")


async def test_a_subprotocol_is_not_answered(connect: Connector, server: Server) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket", subprotocols=[Subprotocol("chat")])
    assert ann.connection.subprotocol is None


async def test_the_application_closes_the_connections_of_a_user(
    connect: Connector, server: Server, transport: Transport, room: str
) -> None:
    ann = await connect(transport, f"{server.http_url}/socket?user=ann-{room[6:]}")
    bob = await connect(transport, f"{server.http_url}/socket?user=bob")
    await bob.join(room)
    await bob.send("BROADCAST", room, "disconnect", {"user": f"ann-{room[6:]}"})
    await ann.wait_closed()
    if isinstance(ann, WebSocketClient):
        assert ann.close_code == 4403
    assert (await bob.call(room, "echo"))["event"] == "echoed"
