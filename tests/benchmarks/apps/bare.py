"""The floor: the least that an ASGI app must do for the same messages on the wire.

No users, no order, no bounds, no slow consumers, no validation. It encodes a broadcast once and
awaits `send` for one member after the other.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

members: dict[Send, None] = {}


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one WebSocket; every channel is the same one."""
    if scope["type"] != "websocket":
        raise ValueError("only WebSockets are served here")
    await receive()
    await send({"type": "websocket.accept"})
    await send(answer("CONNECT", "CONNECTION", {}, {"channelName": "GATEWAY", "requestId": "0"}))
    while (message := await receive())["type"] == "websocket.receive":
        request = orjson.loads(message["text"])
        if request["action"] == "JOIN_CHANNEL":
            members[send] = None
            await send(answer("SYSTEM", "ACKNOWLEDGE", {}, request))
        elif request["event"] == "echo":
            await send(answer("SYSTEM", "echo", request["payload"], request))
        else:
            heard = answer("BROADCAST", request["event"], request["payload"], request)
            for member in list(members):
                await member(heard)
    members.pop(send, None)


def answer(
    action: str, event: str, payload: dict[str, Any], request: dict[str, Any]
) -> dict[str, Any]:
    """The ASGI message that says it."""
    envelope = {
        "action": action,
        "event": event,
        "channelName": request["channelName"],
        "requestId": request["requestId"],
        "payload": payload,
    }
    return {"type": "websocket.send", "text": orjson.dumps(envelope).decode()}
