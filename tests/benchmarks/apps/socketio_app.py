"""python-socketio: rooms, an event that is emitted to a room, and one that is acknowledged."""

from typing import Any

import socketio  # type: ignore[import-not-found]

from tests.benchmarks.apps.bursts import REDIS, burst

# Pings of idle connections are not what is measured.
options: dict[str, Any] = {"ping_interval": 3_600}
if REDIS is not None:
    # By default, redis-py ends a subscription that hears nothing for five seconds.
    options["client_manager"] = socketio.AsyncRedisManager(
        REDIS, redis_options={"socket_timeout": None}
    )
    # One event of a client after the other: else their messages reach Redis in any order.
    options["async_handlers"] = False
sio = socketio.AsyncServer(async_mode="asgi", **options)
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


@sio.event  # type: ignore[untyped-decorator]
async def publish(sid: str, asked: dict[str, Any]) -> dict[str, Any]:
    await burst(asked, lambda said: sio.emit("say", said, room=asked["room"]))
    return {"done": asked["count"]}
