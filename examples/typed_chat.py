"""A chat whose handlers say in their signatures what they need.

Run it with `uvicorn examples.typed_chat:app`; clients connect to `/ws/socket?token=ann-key`. While
a client is in the room /chat/1:

    curl -d '{"text": "The kitchen closes at ten"}' -H 'content-type: application/json' \
        http://127.0.0.1:8000/rooms/1/news
"""

import logging
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import FastAPI
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    Hooks,
    JoinContext,
    LeaveReason,
    Lobby,
    Next,
    PondError,
    PondSocket,
    SyncEventContext,
    User,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel, Field

log = logging.getLogger("typed_chat")

ACCOUNTS = {"ann-key": ("ann", "Ann"), "bob-key": ("bob", "Bob")}
"""Per token: a user id and a name."""

# --- the database ------------------------------------------------------------------------------


@dataclass
class Database:
    """A database in memory; a real one would be a session of a connection pool."""

    topics: dict[int, str] = field(default_factory=lambda: {1: "Welcome"})
    messages: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def save(self, room_id: int, text: str) -> int:
        """Store a message and return its number."""
        self.messages[room_id].append(text)
        return len(self.messages[room_id])


database = Database()


def get_db() -> Iterator[Database]:
    """Yield the database for one message; code after the `yield` would clean up."""
    yield database


async def get_name(ctx: EventContext) -> str:
    """Return the sender's name, which the connection handler has set."""
    name: str = await ctx.get_assign("name")
    return name


Db = Annotated[Database, Depends(get_db)]
Name = Annotated[str, Depends(get_name)]


# --- payloads ----------------------------------------------------------------------------------


class Say(BaseModel):
    """What a client sends."""

    text: str = Field(min_length=1, max_length=2000)


class Said(BaseModel):
    """What the members of a room get."""

    id: int
    name: str
    text: str


class Receipt(BaseModel):
    """The reply to the sender."""

    id: int


class Report(BaseModel):
    """How much was written in a room."""

    messages: int
    words: int


# --- hooks and middleware ----------------------------------------------------------------------


class Attendance(Hooks):
    """Count the connections in each channel."""

    def __init__(self) -> None:
        self.present: Counter[str] = Counter()

    def joined(self, channel_name: str, user: User) -> None:
        """Count one connection more."""
        log.info("%s has joined %s", user.id, channel_name)
        self.present[channel_name] += 1

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        """Count one connection less."""
        log.info("%s has left %s: %s", user.id, channel_name, reason)
        self.present[channel_name] -= 1


async def audited(ctx: EventContext, next: Next) -> None:
    """Log the sender and the event before the handler runs."""
    log.info("%s: %s in %s", ctx.user.id, ctx.event_name, ctx.channel.name)
    await next()


# --- the endpoint and its rooms ----------------------------------------------------------------

attendance = Attendance()
pond = PondSocket(hooks=attendance)


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext, token: str) -> None:
    """Accept clients with a known token; several tabs of one person share the user id."""
    if token not in ACCOUNTS:
        raise PondError("This token is not known.", 401)
    user_id, name = ACCOUNTS[token]
    ctx.accept(user_id=user_id, name=name)


@socket.on_message("add_numbers")
async def add_numbers(a: int, b: int) -> int:
    """Answer a request to the endpoint itself, which needs no join."""
    return a + b


@socket.channel("/chat/:room_id")
async def chat(ctx: JoinContext, room_id: int, db: Db) -> dict[str, str]:
    """Let the client join a room that exists; returning a value accepts the join."""
    if room_id not in db.topics:
        raise PondError("There is no such room.", 404)
    return {"topic": db.topics[room_id]}


@chat.on_message("say", middlewares=[audited])
async def say(
    ctx: EventContext,
    payload: Say,
    room_id: int,
    name: Name,
    db: Db,
) -> Receipt:
    """Store a message and broadcast it; the returned value is the reply."""
    said = Said(id=db.save(room_id, payload.text), name=name, text=payload.text)
    await ctx.broadcast("said", said)
    return Receipt(id=said.id)


@chat.on_message("status")
async def status(ctx: EventContext, text: str) -> None:
    """Show a status to the other members; `text` is a field of the payload."""
    await ctx.track({"name": await ctx.get_assign("name"), "status": text})


@chat.on_message("report")
def report(ctx: SyncEventContext, room_id: int, db: Db) -> Report:
    """Count messages and words; a plain function may block, as it runs in a worker thread."""
    messages = db.messages[room_id]
    ctx.broadcast_from("counted", {"by": ctx.user.id})
    return Report(messages=len(messages), words=sum(len(text.split()) for text in messages))


# --- a lobby that could stand in its own module ------------------------------------------------


def make_support() -> Lobby:
    """Make the lobby of the rooms in which one user and the staff talk."""

    async def enter(ctx: JoinContext, user_id: str) -> None:
        if ctx.user.id != user_id:
            await ctx.decline(403, "This room belongs to another user.")
            return
        await ctx.accept()

    lobby = Lobby("/support/:user_id", enter)

    @lobby.on_message("ask")
    async def ask(ctx: EventContext, payload: Say) -> None:
        await ctx.broadcast("asked", payload)

    return lobby


socket.include(make_support())


# --- from outside: a task and web routes -------------------------------------------------------


REMIND_SECONDS = 600


async def remind() -> None:
    """Broadcast to the first room now and then, even while it has no members."""
    while True:
        await anyio.sleep(REMIND_SECONDS)
        await pond.channel("/socket", "/chat/1").broadcast("reminder", {"text": "Be kind."})


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None, None]:
    """Open the pond, and run the task as long as the site runs."""
    async with pond, anyio.create_task_group() as tasks:
        tasks.start_soon(remind)
        yield
        tasks.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)
app.mount("/ws", PondASGIApp(pond))


@app.get("/")
async def home() -> dict[str, int]:
    """Return the number of connections in each room."""
    return {name: count for name, count in attendance.present.items() if count}


@app.post("/rooms/{room_id}/news", status_code=204)
async def publish(room_id: int, news: Say) -> None:
    """Broadcast to every member of a room; an empty room is no error."""
    await pond.channel("/socket", f"/chat/{room_id}").broadcast("news", news)
