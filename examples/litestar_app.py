"""PondSocket in Litestar: chat rooms at `/ws/socket`, beside an ordinary page.

Run it with `uvicorn examples.litestar_app:app`. There is no `lifespan=[pond.lifespan]` here, to
show that it works without; with it, clients are told when the site closes.
"""

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


async def connect(ctx: ConnectionContext) -> None:
    """Admit everybody; `ctx.query`, `ctx.headers` and `ctx.cookies` are there to check."""
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    """Let them into every room, and show them to the others."""
    await ctx.accept()
    await ctx.track({"status": "online"})


async def say(ctx: EventContext) -> None:
    """Pass a message on to everybody in the room."""
    await ctx.broadcast("message", ctx.get_payload())


pond = PondSocket()
rooms = pond.create_endpoint("/socket", connect).create_channel("/chat/:room_id", join)
rooms.on_message("message", say)
pond_app = PondASGIApp(pond)


@asgi("/ws", is_mount=True, copy_scope=True)
async def realtime(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand everything below /ws to the pond."""
    await pond_app(scope, receive, send)


@get("/")
async def home() -> str:
    """Answer like any other page of the site."""
    return "The rooms are at /ws/socket."


app = Litestar([home, realtime])
