"""A pond that says 20,000 things in eight channels, as fast as it is told to."""

import json
import os
from typing import Any

import anyio
from pondsocket import ConnectionContext, History, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

CHANNELS = tuple(f"/room/{number}" for number in range(8))
# Enough: nothing is trimmed while the test runs. What one join may recover, 300 messages, is more
# than a channel says while a client is away.
HISTORY = History(size=25_000, ttl=600, max_bytes=64 * 1024 * 1024)


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


# Behind a stopped process megabytes pile up; a restart of the clock is what the history is for.
pond = PondSocket(options=Options(heartbeat_seconds=2, sse_keepalive_seconds=2))
endpoint = pond.create_endpoint("/socket", admit)
endpoint.create_channel("/room/:id", enter, history=HISTORY)
pond_app = PondASGIApp(pond, cursor_key=b"k" * 32)


async def speak(count: int, rate: float) -> None:
    """Say `count` things in all channels together, `rate` a second."""
    started = anyio.current_time()
    for number in range(count):
        channel = CHANNELS[number % len(CHANNELS)]
        n = number // len(CHANNELS) + 1
        await pond.channel("/socket", channel).broadcast("said", {"n": n})
        await anyio.sleep_until(started + (number + 1) / rate)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/speak` says all, and answers when it is done; `/connections` counts; the rest is ours."""
    if scope["type"] != "http" or scope["path"] not in ("/speak", "/connections"):
        await pond_app(scope, receive, send)
        return
    if scope["path"] == "/speak":
        await speak(int(os.environ["CHAOS_COUNT"]), float(os.environ["CHAOS_RATE"]))
    body = json.dumps({"connections": await endpoint.connection_count()}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
