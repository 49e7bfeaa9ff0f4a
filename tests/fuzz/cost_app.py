"""The target of `python -m tests.fuzz.cost`: default limits, and handlers that do nothing."""

import json
from typing import Any

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel

from tests.fuzz.app import own_state


class Item(BaseModel):
    id: int


class Fits(BaseModel):
    a: list[str]


class Either(BaseModel):
    a: list[int | Item | list[int]]


pond = PondSocket()


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/room/:id")
async def room(ctx: JoinContext) -> None:
    await ctx.accept()


@endpoint.channel("/no/:id")
async def refused(ctx: JoinContext) -> None:
    await ctx.decline(403, "No.")


@room.on_message("take")
async def take(ctx: EventContext) -> None: ...


@room.on_message("fits")
async def fits(ctx: EventContext, payload: Fits) -> None: ...


@room.on_message("either")
async def either(ctx: EventContext, payload: Either) -> None: ...


_served = PondASGIApp(pond)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve the pond, and its memory at `/memory`."""
    if scope["type"] != "http" or scope["path"] != "/memory":
        await _served(scope, receive, send)
        return
    body = json.dumps(own_state()).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
