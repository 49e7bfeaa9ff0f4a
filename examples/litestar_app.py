"""PondSocket in Litestar: chat rooms at `/ws/socket`, beside an ordinary page.

Run it with `uvicorn examples.litestar_app:app`. It has no `lifespan=[pond.lifespan]`, to show
that it works without; with it, clients are told when the site closes.
"""

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


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
pond_app = PondASGIApp(pond)


@asgi("/ws", is_mount=True, copy_scope=True)
async def realtime(scope: Scope, receive: Receive, send: Send) -> None:
    """Pass everything below /ws to the pond."""
    await pond_app(scope, receive, send)


@get("/")
async def home() -> str:
    """Serve a page of the site."""
    return "The rooms are at /ws/socket."


app = Litestar([home, realtime])
