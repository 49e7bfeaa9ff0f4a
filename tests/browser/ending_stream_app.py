"""A chat whose first event stream ends after the join; the others say how long to stay away."""

import asyncio
import json
from typing import Final

from examples.chat import Message, Receive, Send
from examples.chat import app as chat

AWAY_MS: Final = 600_000
CONNECT: Final = {
    "action": "CONNECT",
    "event": "CONNECTION",
    "channelName": "GATEWAY",
    "requestId": "r",
    "payload": {"id": "u1", "connectionId": "secret"},
}

GOODBYE: Final = {
    "action": "SYSTEM",
    "event": "GOODBYE",
    "channelName": "GATEWAY",
    "requestId": "r",
    "payload": {"code": 1011, "reason": "", "reconnect": True, "afterMs": 0},
}

joins: Final[asyncio.Queue[bytes]] = asyncio.Queue()
streams: Final = [CONNECT]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve the chat's page, and one stream at a time."""
    if scope["type"] != "http" or scope["path"] != "/socket":
        await chat(scope, receive, send)
    elif scope["method"] == "GET":
        await stream(send)
    else:
        body = await receive()
        if scope["method"] == "POST":
            joins.put_nowait(body["body"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def stream(send: Send) -> None:
    """Send the greeting, accept one join, and end; or end at once, as a server that drains."""
    headers = [(b"content-type", b"text/event-stream"), (b"x-connection-id", b"secret")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if not streams:
        await write(send, b"retry: %d\ndata: %b\n\n" % (AWAY_MS, json.dumps(GOODBYE).encode()))
        await send({"type": "http.response.body", "body": b""})
        return
    await write(send, b"data: %b\n\n" % json.dumps(streams.pop()).encode())
    (join,) = json.loads(await joins.get())
    answer = {**join, "action": "SYSTEM", "event": "ACKNOWLEDGE"}
    # In pieces, at places where no event ends: a proxy may cut there.
    text = json.dumps(answer)
    await write(send, b": a comment\n\ndata: " + text[:20].encode())
    await write(send, text[20:].encode() + b"\n")
    await write(send, b"\n")
    await send({"type": "http.response.body", "body": b""})


async def write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
