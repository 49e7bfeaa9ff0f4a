"""A chat whose handlers say in their signatures what they need.

Run it with `uvicorn examples.typed_chat:app`; clients connect to `/ws/socket?token=ann-key`. While
somebody is in the room /chat/1:

    curl -d '{"text": "The kitchen closes at ten"}' -H 'content-type: application/json' \
        http://127.0.0.1:8000/rooms/1/news
"""

import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
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
"""What a token stands for: a user id and a name."""

# --- what is kept ----------------------------------------------------------------------------


@dataclass
class Database:
    """In memory here; a real one would be a session of a connection pool."""

    topics: dict[int, str] = field(default_factory=lambda: {1: "Welcome"})
    messages: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def save(self, room_id: int, text: str) -> int:
        """Keep a message and give its number."""
        self.messages[room_id].append(text)
        return len(self.messages[room_id])


database = Database()


def get_db() -> Iterator[Database]:
    """Lend the database to one message; what stands after `yield` is the clean-up."""
    yield database


async def get_name(ctx: EventContext) -> str:
    """Look up the sender's name, as it was found out at the connection."""
    name: str = await ctx.get_assign("name")
    return name


Db = Annotated[Database, Depends(get_db)]
Name = Annotated[str, Depends(get_name)]


# --- what is said ----------------------------------------------------------------------------


class Say(BaseModel):
    """What a client says."""

    text: str = Field(min_length=1, max_length=2000)


class Said(BaseModel):
    """What a room hears."""

    id: int
    name: str
    text: str


class Receipt(BaseModel):
    """What the sender is told."""

    id: int


class Report(BaseModel):
    """How much was said in a room."""

    messages: int
    words: int


# --- who is told what happens ------------------------------------------------------------------


class Attendance(Hooks):
    """How many connections are in each channel."""

    def __init__(self) -> None:
        self.present: Counter[str] = Counter()

    def joined(self, channel_name: str, user: User) -> None:
        """Count one more."""
        log.info("%s has joined %s", user.id, channel_name)
        self.present[channel_name] += 1

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        """Count one less."""
        log.info("%s has left %s: %s", user.id, channel_name, reason)
        self.present[channel_name] -= 1


async def audited(ctx: EventContext, next: Next) -> None:  # noqa: A002
    """Write down who asks for what, whatever comes of it."""
    log.info("%s: %s in %s", ctx.user.id, ctx.event_name, ctx.channel.name)
    await next()


# --- the endpoint and its rooms ----------------------------------------------------------------

attendance = Attendance()
pond = PondSocket(hooks=attendance)


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext, token: str) -> None:
    """Admit whoever has a key; several tabs of one person share the user id."""
    if token not in ACCOUNTS:
        raise PondError("This token is not known.", 401)
    user_id, name = ACCOUNTS[token]
    ctx.accept(user_id=user_id, name=name)


@socket.on_message("add_numbers")
async def add_numbers(a: int, b: int) -> int:
    """Answer a request to the endpoint itself, for which nobody needs to join a room."""
    return a + b


@socket.channel("/chat/:room_id")
async def chat(ctx: JoinContext, room_id: int, db: Db) -> dict[str, str]:
    """Let everybody into the rooms that there are; returning something accepts the join."""
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
    """Keep a message and tell everybody; what is returned is the reply."""
    said = Said(id=db.save(room_id, payload.text), name=name, text=payload.text)
    await ctx.broadcast("said", said)
    return Receipt(id=said.id)


@chat.on_message("status")
async def status(ctx: EventContext, text: str) -> None:
    """Show the others a status; `text` is a field of the payload."""
    await ctx.track({"name": await ctx.get_assign("name"), "status": text})


@chat.on_message("report")
def report(ctx: SyncEventContext, room_id: int, db: Db) -> Report:
    """Count: a plain function may take its time, for it runs in a thread of its own."""
    messages = db.messages[room_id]
    ctx.broadcast_from("counted", {"by": ctx.user.id})
    return Report(messages=len(messages), words=sum(len(text.split()) for text in messages))


# --- a lobby that could stand in its own module ------------------------------------------------


def make_support() -> Lobby:
    """Make the rooms in which one person and the staff talk."""

    async def enter(ctx: JoinContext, user_id: str) -> None:
        if ctx.user.id != user_id:
            await ctx.decline(403, "This is somebody else's room.")
            return
        await ctx.accept()

    lobby = Lobby("/support/:user_id", enter)

    @lobby.on_message("ask")
    async def ask(ctx: EventContext, payload: Say) -> None:
        await ctx.broadcast("asked", payload)

    return lobby


socket.include(make_support())


# --- from outside: a task and a web page -------------------------------------------------------


REMIND_SECONDS = 600


async def remind() -> None:
    """Tell the first room something now and then, whether or not somebody is there."""
    while True:
        await anyio.sleep(REMIND_SECONDS)
        await pond.channel("/socket", "/chat/1").broadcast("reminder", {"text": "Be kind."})


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open the pond, and let the task run as long as the site does."""
    async with pond, anyio.create_task_group() as tasks:
        tasks.start_soon(remind)
        yield
        tasks.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)
app.mount("/ws", PondASGIApp(pond))


@app.get("/")
async def home() -> dict[str, int]:
    """Say how many are in each room."""
    return {name: count for name, count in attendance.present.items() if count}


@app.post("/rooms/{room_id}/news", status_code=204)
async def publish(room_id: int, news: Say) -> None:
    """Tell everybody in a room; where nobody is, nobody hears it."""
    await pond.channel("/socket", f"/chat/{room_id}").broadcast("news", news)
