"""A chat whose event stream ends as soon as the client has joined, and says how long to wait."""

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

joins: Final[asyncio.Queue[bytes]] = asyncio.Queue()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve the chat's page, and one stream at a time."""
    if scope["type"] != "http" or scope["path"] == "/":
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
    """Send the greeting, accept one join, and end."""
    headers = [(b"content-type", b"text/event-stream"), (b"x-connection-id", b"secret")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await write(send, b"data: %b\n\n" % json.dumps(CONNECT).encode())
    (join,) = json.loads(await joins.get())
    answer = {**join, "action": "SYSTEM", "event": "ACKNOWLEDGE"}
    # In pieces, at places where no event ends: a proxy may cut there.
    text = json.dumps(answer)
    await write(send, b": a comment\n\ndata: " + text[:20].encode())
    await write(send, text[20:].encode() + b"\n")
    await write(send, b"\nretry: %d\n\n" % AWAY_MS)
    await send({"type": "http.response.body", "body": b""})


async def write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
