"""PondSocket in FastAPI: chat rooms at `/ws/socket`, and a route that sends to them.

Run it with `uvicorn examples.fastapi_app:app`. While a client is in the room /chat/42:

    curl -d '{"text": "The kitchen closes at ten"}' -H 'content-type: application/json' \
        http://127.0.0.1:8000/rooms/42/news
"""

from fastapi import FastAPI, HTTPException
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel


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

app = FastAPI(lifespan=pond.lifespan)
app.mount("/ws", PondASGIApp(pond))


class News(BaseModel):
    """What the route sends to a room."""

    text: str


@app.get("/")
async def home() -> dict[str, int]:
    """Return the number of rooms that have members."""
    return {"rooms": len(await rooms.list_channels())}


@app.post("/rooms/{room_id}/news", status_code=204)
async def publish(room_id: str, news: News) -> None:
    """Broadcast to every member of a room."""
    room = await rooms.get_channel(f"/chat/{room_id}")
    if room is None:
        raise HTTPException(404, "This room is empty.")
    await room.broadcast("news", news)
