"""A pond that uses all of the engine, and others whose limits a test can meet."""

import asyncio
import threading
from collections import defaultdict
from typing import Final

from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    Lobby,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel

from tests.state_route import Message, Receive, Send

# A handler that waits for what never comes is ended by the test's own limit.
latches: Final[defaultdict[str, asyncio.Event]] = defaultdict(asyncio.Event)
meetings: Final[defaultdict[str, threading.Barrier]] = defaultdict(lambda: threading.Barrier(2))
MEETING_SECONDS: Final = 20.0


class Shown(BaseModel):
    name: str


class Say(BaseModel):
    text: str


class Said(BaseModel):
    length: int


class Public(BaseModel):
    user: str


class Account(Public):
    password: str


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def admit(ctx: ConnectionContext, user: str | None = None, floor: int = 0) -> None:
    ctx.reply("admitted", {"floor": floor, "in_main_thread": in_main_thread()})
    if user is None:
        ctx.accept()
    else:
        ctx.accept(user_id=user)


# --- channels ---------------------------------------------------------------------------------


async def enter(
    ctx: JoinContext,
    room_id: str,
    age: int = 0,
    show: Shown | None = None,
    latch: str | None = None,
    code: int | None = None,
) -> dict[str, object]:
    if latch is not None:
        await latches[latch].wait()
    if code is not None:
        raise PondError("Members only.", code)
    answer: dict[str, object] = {"room": room_id, "age": age}
    if show is not None:
        await ctx.accept(response=answer)
        await ctx.track(show)
    return answer


def sit(ctx: SyncJoinContext, number: int) -> dict[str, object]:
    return {"number": number, "in_main_thread": in_main_thread()}


async def say(ctx: EventContext, payload: Say) -> Said:
    await ctx.broadcast("said", payload)
    return Said(length=len(payload.text))


async def profile(user: str) -> Public:
    return Account(user=user, password="hunter2")


async def tell(ctx: EventContext, users: list[str], text: str) -> None:
    await ctx.broadcast_to("said", {"text": text}, *users)


async def deny(ctx: EventContext) -> None:
    raise PondError("The shop is closed.", 409)


async def wait(ctx: EventContext, latch: str) -> str:
    await ctx.broadcast("began", {"latch": latch})
    await latches[latch].wait()
    await ctx.broadcast("ended", {"latch": latch})
    return latch


async def parade(ctx: EventContext, users: list[str], turn: int) -> None:
    for user in users:
        await ctx.track({"name": user, "turn": turn}, user)


async def count(ctx: EventContext) -> int:
    return await ctx.channel.user_count()


async def presence(ctx: EventContext) -> dict[str, object]:
    return dict(await ctx.get_all_presence())


def meet(ctx: SyncEventContext, meeting: str) -> dict[str, object]:
    meetings[meeting].wait(MEETING_SECONDS)
    ctx.broadcast("met", {"meeting": meeting})
    return {"in_main_thread": in_main_thread()}


def witness(ctx: OutgoingContext) -> None:
    ctx.transform({**ctx.get_payload(), "in_main_thread": in_main_thread()})


async def left(ctx: LeaveContext) -> None:
    await ctx.broadcast("left", {"user": ctx.user.id, "reason": ctx.reason})


# --- the endpoint itself ----------------------------------------------------------------------


async def add(ctx: GatewayContext, a: int, b: int) -> int:
    return a + b


async def refuse(ctx: GatewayContext) -> None:
    raise PondError("Not in this channel.", 418)


async def shout(ctx: GatewayContext) -> None:
    await ctx.broadcast("said", {"text": "to none"})


async def open_latch(ctx: GatewayContext, latch: str) -> bool:
    latches[latch].set()
    return True


async def disconnect(ctx: GatewayContext, user: str, reason: str) -> None:
    await pond.disconnect(user_id=user, reason=reason)


def announce(ctx: SyncGatewayContext, room: str, count: int) -> bool:
    """Broadcast from a thread that neither the pond nor anyio has heard of."""

    def work() -> None:
        for number in range(count):
            pond.channel("/socket", room).broadcast_nowait("news", {"n": number})

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return True


# --- ponds ------------------------------------------------------------------------------------


def build(options: Options, path: str) -> tuple[PondSocket, Endpoint]:
    made = PondSocket(options=options)
    endpoint = made.create_endpoint(path, admit)
    room = endpoint.create_channel("/room/:room_id", enter)
    room.on_leave(left)
    room.on_outgoing("news", witness)
    for event in (say, profile, tell, deny, wait, parade, count, presence, meet):
        room.on_message(event.__name__, event)
    room.on_message("aside", wait, concurrent=True)
    endpoint.include(Lobby("/desk/:number", sit))
    for request in (add, refuse, shout, open_latch, profile):
        endpoint.on_message(request.__name__, request)
    return made, endpoint


# A rate so low that nothing comes back while a test runs, however slow the machine.
TIGHT: Final = Options(
    event_rate=0.01, event_burst=4, control_rate=0.01, control_burst=6, max_channels=3
)
# Longer than any reconnect takes, and short enough to wait for.
HELD: Final = Options(presence_leave_delay=1.0)
# Each path below it is a pond of its own, so that no test meets the connections of another.
FEW: Final = Options(max_connections=2)

pond, socket = build(Options(), "/socket")
socket.on_message("disconnect", disconnect)
socket.on_message("announce", announce)
pond_app = PondASGIApp(pond)
apps: Final[dict[str, PondASGIApp]] = {
    "/socket": pond_app,
    "/tight": PondASGIApp(build(TIGHT, "/tight")[0]),
    "/held": PondASGIApp(build(HELD, "/held")[0]),
}


def app_at(path: str) -> PondASGIApp:
    if path not in apps and path.startswith("/few/"):
        apps[path] = PondASGIApp(build(FEW, path)[0])
    return apps.get(path, pond_app)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve each pond, and close the one at `/few/1` on a POST to `/close/few/1`."""
    path = scope.get("path", "")
    if not path.startswith("/close/"):
        await app_at(path)(scope, receive, send)
        return
    await app_at(path.removeprefix("/close")).pond.close()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
