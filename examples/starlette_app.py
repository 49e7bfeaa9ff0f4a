"""PondSocket in Starlette: chat rooms at `/ws/socket`, beside an ordinary page.

Run it with `uvicorn examples.starlette_app:app`.
"""

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route


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


async def home(request: Request) -> PlainTextResponse:
    """Serve a page of the site."""
    return PlainTextResponse("The rooms are at /ws/socket.")


pond = PondSocket()
rooms = pond.create_endpoint("/socket", connect).create_channel("/chat/:room_id", join)
rooms.on_message("message", say)

app = Starlette(
    routes=[Route("/", home), Mount("/ws", PondASGIApp(pond))],
    lifespan=pond.lifespan,
)
