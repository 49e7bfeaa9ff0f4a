"""A second wire format on real servers: both formats over both transports, in one room."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import websockets
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    POND,
    ClientActions,
    ClientCodec,
    ClientMessage,
    ServerMessage,
    SSEDecoder,
)
from websockets import Subprotocol

from tests.array_codec import ARRAY
from tests.servers import HYPERCORNS, UVICORNS, Serve, Setup

ROOM = "/room/1"
WAIT_SECONDS = 10.0
JOIN = ClientMessage(ClientActions.JOIN_CHANNEL, "join", ROOM, "join", {})
COUNT = ClientMessage(ClientActions.BROADCAST, "count", ROOM, "count", {"to": 40})


class Socket:
    """A WebSocket that asks for its format by the subprotocol."""

    def __init__(self, codec: ClientCodec, connection: websockets.ClientConnection) -> None:
        self.codec = codec
        self.connection = connection

    async def send(self, message: ClientMessage) -> None:
        await self.connection.send(self.codec.encode_client(message).decode())

    async def receive(self) -> ServerMessage:
        async with asyncio.timeout(WAIT_SECONDS):
            return self.codec.decode_server(await self.connection.recv())


async def receive_until(receive: Any, event: str) -> list[Any]:
    """Return the numbers up to an event, and the event's payload."""
    heard: list[Any] = []
    while (message := await receive()).event != event:
        heard.append(message.payload["n"])
    return [*heard, message.payload]


@pytest.mark.parametrize(
    "setup", [each for each in UVICORNS if "uvloop" in each.name] + [*HYPERCORNS[:1]], ids=str
)
async def test_clients_of_both_formats_hear_the_same(serve: Serve, setup: Setup) -> None:
    server = serve("tests.integration.codec_app:app", *setup.arguments, server=setup.server)
    url = f"{server.http_url}/socket"
    async with (
        websockets.connect(url.replace("http", "ws", 1)) as plain,
        websockets.connect(
            url.replace("http", "ws", 1), subprotocols=[Subprotocol("array")]
        ) as chosen,
        httpx.AsyncClient(timeout=WAIT_SECONDS) as client,
        client.stream(
            "GET", f"{url}?codec=array", headers={"accept": "text/event-stream"}
        ) as stream,
    ):
        assert (plain.subprotocol, chosen.subprotocol) == (None, "array")
        decoder = SSEDecoder()
        texts = (
            event.data async for chunk in stream.aiter_bytes() for event in decoder.feed(chunk)
        )

        async def receive() -> ServerMessage:
            return ARRAY.decode_server(await anext(texts))

        async def post(*messages: ClientMessage) -> None:
            bodies = [json.loads(ARRAY.encode_client(each)) for each in messages]
            headers = {CONNECTION_ID_HEADER: stream.headers[CONNECTION_ID_HEADER]}
            answer = await client.post(url, headers=headers, json=bodies)
            assert (answer.status_code, answer.content) == (204, b"")

        sockets = [Socket(POND, plain), Socket(ARRAY, chosen)]
        for socket in sockets:
            assert (await socket.receive()).event == "CONNECTION"
            await socket.send(JOIN)
            assert (await socket.receive()).event == "ACKNOWLEDGE"
        assert (await receive()).event == "CONNECTION"
        await post(JOIN)
        assert (await receive()).event == "ACKNOWLEDGE"

        numbers = [*range(40)]
        for socket in sockets:
            await socket.send(COUNT)
            assert await receive_until(socket.receive, "count") == [*numbers, {"counted_to": 40}]
            for other in [each.receive for each in sockets if each is not socket] + [receive]:
                assert [(await other()).payload for _ in numbers] == [{"n": n} for n in numbers]
        await post(COUNT)
        assert await receive_until(receive, "count") == [*numbers, {"counted_to": 40}]
        for socket in sockets:
            assert [(await socket.receive()).payload for _ in numbers] == [
                {"n": n} for n in numbers
            ]


async def test_an_unknown_format_is_a_400_with_a_body(serve: Serve) -> None:
    server = serve("tests.integration.codec_app:app")
    url = f"{server.http_url}/socket?codec=unknown"
    refusal = {
        "error": "UNKNOWN_CODEC",
        "code": 400,
        "message": "?codec= is one of these: pond, array.",
    }
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(url.replace("http", "ws", 1))
    assert caught.value.response.status_code == 400
    assert json.loads(caught.value.response.body) == refusal
    async with httpx.AsyncClient() as client:
        answer = await client.get(url, headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.json()) == (400, refusal)
