"""PondSocket beside Sanic: chat rooms at `/ws/socket`, and Sanic for everything else.

Run it with `uvicorn examples.sanic_app:app`. Sanic's own server runs no other ASGI applications;
`sanic_server.py` shows how to serve a pond there.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from sanic import HTTPResponse, Request, Sanic, text


async def connect(ctx: ConnectionContext) -> None:
    """Accept every client; check `ctx.query`, `ctx.headers` or `ctx.cookies` to refuse some."""
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    """Let the client join any room, and show its presence to the other members."""
    await ctx.accept()
    await ctx.track({"status": "online"})


async def say(ctx: EventContext) -> None:
    """Broadcast a message to every member of the room."""
    await ctx.broadcast("message", ctx.get_payload())


pond = PondSocket()
rooms = pond.create_endpoint("/socket", connect).create_channel("/chat/:room_id", join)
rooms.on_message("message", say)

site = Sanic("site")


@site.get("/")
async def home(request: Request) -> HTTPResponse:
    """Serve a page of the site."""
    return text("The rooms are at /ws/socket.")


@site.before_server_stop
async def close(app: Sanic[Any, Any]) -> None:
    """Let the leave handlers run. The lifespan of the server is for Sanic, which needs it."""
    await pond.close()


MOUNT = "/ws"
pond_app = PondASGIApp(pond)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Route /ws to the pond and the rest to Sanic, which has no WebSockets of its own here."""
    root = scope.get("root_path", "")
    below_root = scope.get("path", "").removeprefix(root)
    if below_root == MOUNT or below_root.startswith(f"{MOUNT}/"):
        await pond_app({**scope, "root_path": root + MOUNT}, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})  # before any accept: the client sees a 403
    else:
        await site(scope, receive, send)
