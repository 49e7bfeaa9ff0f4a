"""python-socketio: rooms, an event that is emitted to a room, and one that is acknowledged."""

from typing import Any

import socketio  # type: ignore[import-not-found]

# Pings of idle connections are not what is measured.
sio = socketio.AsyncServer(async_mode="asgi", ping_interval=3_600)
app = socketio.ASGIApp(sio)


@sio.event  # type: ignore[untyped-decorator]
async def join(sid: str, room: str) -> None:
    await sio.enter_room(sid, room)


@sio.event  # type: ignore[untyped-decorator]
async def say(sid: str, room: str, payload: dict[str, Any]) -> None:
    await sio.emit("say", payload, room=room)


@sio.event  # type: ignore[untyped-decorator]
async def echo(sid: str, payload: dict[str, Any]) -> dict[str, Any]:
    return payload
