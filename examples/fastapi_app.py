"""PondSocket in FastAPI: chat rooms at `/ws/socket`, and a route that speaks in them.

Run it with `uvicorn examples.fastapi_app:app`. While somebody is in the room /chat/42:

    curl -d '{"text": "The kitchen closes at ten"}' -H 'content-type: application/json' \
        http://127.0.0.1:8000/rooms/42/news
"""

from fastapi import FastAPI, HTTPException
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel


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

app = FastAPI(lifespan=pond.lifespan)
app.mount("/ws", PondASGIApp(pond))


class News(BaseModel):
    """What a room is told."""

    text: str


@app.get("/")
async def home() -> dict[str, int]:
    """Say how many rooms are open."""
    return {"rooms": len(await rooms.list_channels())}


@app.post("/rooms/{room_id}/news", status_code=204)
async def publish(room_id: str, news: News) -> None:
    """Tell everybody in a room."""
    room = await rooms.get_channel(f"/chat/{room_id}")
    if room is None:
        raise HTTPException(404, "Nobody is in this room.")
    await room.broadcast("news", news)
