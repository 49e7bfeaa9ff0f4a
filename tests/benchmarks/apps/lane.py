"""An echo and a room with as little as possible around them, over the fast lane if there is one.

`by_send` answers with ASGI messages; `by_lane` frames its answers itself and hands them to the
lane of `pondsocket_asgi.fastlane`, where it is served by that.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from pondsocket_common import websocket_frame

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

senders: dict[Send, None] = {}
lanes: dict[Any, Send] = {}


async def by_send(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one WebSocket by ASGI alone."""
    await _open(scope, receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        answer = {"type": "websocket.send", "text": text}
        if '"say"' in text:
            for member in list(senders):
                await member(answer)
            continue
        if '"JOIN_CHANNEL"' in text:
            senders[send] = None
            answer["text"] = '"ACKNOWLEDGE"'
        await send(answer)
    senders.pop(send, None)


async def by_lane(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one WebSocket by its lane; by ASGI where that is closed."""
    lane = scope["extensions"]["pondsocket.fastlane"]
    await _open(scope, receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        if '"say"' in text:
            frame = websocket_frame(text.encode())
            for member in lanes:
                if member.is_open:
                    member.write(frame)
                else:
                    await lanes[member]({"type": "websocket.send", "text": text})
            continue
        if '"JOIN_CHANNEL"' in text:
            lanes[lane] = send
            text = '"ACKNOWLEDGE"'
        if lane.is_open:
            lane.write(websocket_frame(text.encode()))
        else:
            await send({"type": "websocket.send", "text": text})
    lanes.pop(lane, None)


async def _open(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        raise ValueError("only WebSockets are served here")
    await receive()
    await send({"type": "websocket.accept"})
