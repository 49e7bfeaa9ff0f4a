"""A pond behind middlewares that replace `send`: known ones, and one of the app's own."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._transport.connection import Connection
from pondsocket_asgi.fastlane import Lane
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from tests.state_route import send_json

logging.basicConfig(level=logging.INFO)


async def admit(ctx: ConnectionContext) -> None:
    ctx.scope["session"]["visits"] = ctx.scope["session"].get("visits", 0) + 1
    ctx.accept()
    ctx.reply("visits", {"n": ctx.scope["session"]["visits"]})


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def say(ctx: EventContext) -> None:
    for number in range(3):
        await ctx.broadcast("said", {"n": number})


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", admit)
endpoint.create_channel("/room", enter).on_message("say", say)


class Timing:
    """A middleware of the application's own."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Wrap each message."""

        async def timed(message: Any) -> None:
            await send(message)

        await self.app(scope, receive, timed)


known = FastAPI(
    middleware=[
        Middleware(CORSMiddleware, allow_origins=["https://a.example"]),
        Middleware(GZipMiddleware),
        Middleware(SessionMiddleware, secret_key="a secret"),
    ]
)
known.mount("/known", PondASGIApp(pond))
foreign = Timing(SessionMiddleware(PondASGIApp(pond), "a secret"))
written: list[bytes] = []


class Watched:
    """A lane that keeps what is written to it."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.session = None

    @property
    def is_open(self) -> bool:
        """As the lane."""
        return self._lane.is_open

    def write(self, frames: bytes) -> None:
        """Keep it."""
        written.append(frames)
        self._lane.write(frames)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve both, and `/state`: what was written to lanes, and how many writers have a task."""
    if scope["type"] == "http" and scope["path"] == "/state":
        await send_json(send, state())
        return
    lane = scope.get("extensions", {}).get("pondsocket.fastlane")
    if lane is not None:
        scope["extensions"]["pondsocket.fastlane"] = Watched(lane)
    host = known if scope.get("path", "").startswith("/known") else foreign
    await host(scope, receive, send)


def state() -> dict[str, Any]:
    """Return the answer of `/state`."""
    sinks = [session.sink for session in endpoint.sessions]
    return {
        "lane": [b.count(b'"said"') for b in written],
        "tasks": sum(isinstance(s, Connection) and s._writer._task is not None for s in sinks),
        "open": len(sinks),
    }
