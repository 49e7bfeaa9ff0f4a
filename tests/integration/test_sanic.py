"""A pond on Sanic's own server, by the bridge in the example: how connections begin and end."""

import signal
from collections.abc import Iterator

import pytest
from pondsocket_common import EVENT_STREAM
from websockets.typing import Subprotocol

from tests.integration.clients import Client, SSEClient, Transport, WebSocketClient
from tests.integration.connector import Connector
from tests.integration.test_examples import command
from tests.servers import Serve, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*command("sanic_server"), server="sanic") as server:
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.http_url}/ws/socket"


@pytest.fixture
def chat(room: str) -> str:
    return room.replace("/room", "/chat")


async def joined(connect: Connector, transport: Transport, url: str, chat: str) -> Client:
    client = await connect(transport, url)
    assert (await client.join(chat))["event"] == "ACKNOWLEDGE"
    await client.receive_event("PRESENCE", "JOIN")
    return client


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_vanishes_leaves(
    connect: Connector, url: str, chat: str, transport: Transport, reset: bool
) -> None:
    bob = await joined(connect, "websocket", url, chat)
    ann = await joined(connect, transport, url, chat)
    await bob.receive_event("PRESENCE", "JOIN")
    await ann.abort(reset=reset)
    await bob.receive_event("PRESENCE", "LEAVE")


async def test_a_stream_is_ended_by_delete_and_an_unknown_one_is_not_found(
    connect: Connector, url: str, chat: str
) -> None:
    bob = await joined(connect, "websocket", url, chat)
    ann = await joined(connect, "sse", url, chat)
    assert isinstance(ann, SSEClient)
    assert (await ann.post_json({"action": "ping"})).status_code == 204
    assert (await ann.delete()).status_code == 204
    await ann.wait_closed()
    assert not ann.is_torn
    await bob.receive_event("PRESENCE", "LEAVE")
    assert (await ann.delete()).status_code == 404
    assert (await ann.post_json({"action": "ping"})).json()["code"] == 404


async def test_a_long_message_arrives_whole_and_one_over_the_limit_is_refused(
    connect: Connector, url: str, chat: str, transport: Transport
) -> None:
    ann = await joined(connect, transport, url, chat)
    text = "é" * 10_000
    await ann.send("BROADCAST", chat, "message", {"text": text})
    assert (await ann.receive_event("BROADCAST", "message"))["payload"] == {"text": text}
    if isinstance(ann, SSEClient):
        response = await ann.post(b"[" + b" " * 300_000 + b"]")
        assert response.status_code == 413
        assert (await ann.post_json({"action": "ping"})).status_code == 204
    else:
        await ann.send("BROADCAST", chat, "message", {"text": "a" * 70_000})
        await ann.wait_closed()


async def test_headers_and_subprotocols_pass(connect: Connector, url: str) -> None:
    ann = await connect.websocket(url, subprotocols=[Subprotocol("x"), Subprotocol("pond")])
    assert ann.connection.subprotocol == "pond"
    stream = await connect.sse(url)
    assert stream.response.headers["content-type"] == EVENT_STREAM
    assert stream.response.headers["x-accel-buffering"] == "no"
    evil = {"origin": "https://evil.example", "accept": EVENT_STREAM}
    assert (await connect.http.get(url, headers=evil)).status_code == 403
    assert (await connect.http.get(url, headers={"accept": "text/html"})).status_code in (404, 406)


async def test_the_end_of_the_server_is_told(connect: Connector, serve: Serve) -> None:
    server = serve(*command("sanic_server"), server="sanic")
    url = f"{server.http_url}/ws/socket"
    clients = [await connect("websocket", url), await connect("sse", url)]
    server.signal(signal.SIGTERM)
    for client in clients:
        goodbye = await client.receive_event("SYSTEM", "GOODBYE")
        assert (goodbye["payload"]["code"], goodbye["payload"]["reconnect"]) == (1001, True)
        await client.wait_closed()
    assert isinstance(clients[0], WebSocketClient)
    assert clients[0].close_code == 1001
    server.wait_exit(10)
    assert "Traceback" not in server.log()
