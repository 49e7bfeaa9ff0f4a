"""The floor: the minimum that an ASGI app must do for the same messages on the wire.

No users, no order, no bounds, no slow consumers, no validation. It encodes a broadcast once and
awaits `send` for one member after the other.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import orjson

from tests.benchmarks.apps.envelopes import answer

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]

HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]

# By channel.
sockets: dict[str, dict[Send, None]] = defaultdict(dict)
streams: dict[str, dict[Send, None]] = defaultdict(dict)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one WebSocket, or at `/sse/<channel>` one event stream."""
    if scope["type"] == "websocket":
        await serve_socket(receive, send)
    elif scope["type"] == "http":
        await serve_stream(scope["path"].removeprefix("/sse"), receive, send)
    else:
        raise ValueError("only WebSockets and streams are served here")


async def serve_socket(receive: Receive, send: Send) -> None:
    """Serve one WebSocket."""
    joined: list[str] = []
    await receive()
    await send({"type": "websocket.accept"})
    await send(message(answer("CONNECT", "CONNECTION", {}, "GATEWAY", "0")))
    while (heard := await receive())["type"] == "websocket.receive":
        # A server may give the keys of both forms, one of them as None.
        request = orjson.loads(heard.get("text") or heard["bytes"])
        channel, number = request["channelName"], request["requestId"]
        if request["action"] == "JOIN_CHANNEL":
            joined.append(channel)
            sockets[channel][send] = None
            await send(message(answer("SYSTEM", "ACKNOWLEDGE", {}, channel, number)))
        elif request["event"] == "echo":
            await send(message(answer("SYSTEM", "echo", request["payload"], channel, number)))
        else:
            text = answer("BROADCAST", request["event"], request["payload"], channel, number)
            await broadcast(channel, text)
    for channel in joined:
        sockets[channel].pop(send, None)


async def broadcast(channel: str, text: bytes) -> None:
    """Send the text to every member."""
    if members := sockets[channel]:
        said = message(text)
        for send in list(members):
            await send(said)
    if members := streams[channel]:
        said = block(text)
        for send in list(members):
            await send(said)


async def serve_stream(channel: str, receive: Receive, send: Send) -> None:
    """Serve one event stream, which is a member from its beginning to its end."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    streams[channel][send] = None
    await send(block(answer("SYSTEM", "ACKNOWLEDGE", {}, channel, "0")))
    while (await receive())["type"] != "http.disconnect":
        pass
    streams[channel].pop(send, None)


def message(text: bytes) -> dict[str, Any]:
    """Make the ASGI message that sends the text on a WebSocket."""
    return {"type": "websocket.send", "text": text.decode()}


def block(text: bytes) -> dict[str, Any]:
    """Make the ASGI message that sends the text on a stream."""
    return {"type": "http.response.body", "body": b"data: %b\n\n" % text, "more_body": True}
