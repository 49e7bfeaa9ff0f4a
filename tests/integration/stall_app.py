"""A pond for peers that stop reading or vanish, and a route that shows what the server holds.

Runs on asyncio and on trio. `POND_OPTIONS` holds options as JSON.
"""

import ctypes
import gc
import json
import os
from collections import Counter as Tally
from pathlib import Path
from urllib.parse import parse_qs

import anyio
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    Counter,
    EventContext,
    Hooks,
    JoinContext,
    Options,
    PondSocket,
    conflate,
)
from pondsocket_asgi import PondASGIApp
from pondsocket_common import CloseCode

from tests.state_route import Message, Receive, Send, send_json

_give_back = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)


class Ends(Hooks):
    """Which user's connection ended with which code."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        self.codes[user_id] = code.name


class Numbers:
    """What was counted."""

    def __init__(self) -> None:
        self.counts: Tally[str] = Tally()

    def count(self, counter: Counter, amount: int) -> None:
        self.counts[counter] += amount

    def queue_depth(self, frames: int) -> None:
        pass


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def say(ctx: EventContext) -> None:
    """Broadcast, with as many bytes more as the payload says."""
    payload = ctx.get_payload()
    await ctx.broadcast("said", {**payload, "text": "x" * payload.get("size", 0)})


async def answer(ctx: EventContext) -> None:
    await ctx.reply("answered", ctx.get_payload())


ends, numbers = Ends(), Numbers()
options = Options(**json.loads(os.environ.get("POND_OPTIONS", "{}")))
pond = PondSocket(options=options, hooks=ends, metrics=numbers)
sockets = pond.create_endpoint("/socket", admit)
rooms = {
    "/room/:room_id": sockets.create_channel("/room/:room_id", enter),
    "/drop/:room_id": sockets.create_channel("/drop/:room_id", enter, slow_consumers="drop_oldest"),
    "/latest/:room_id": sockets.create_channel(
        "/latest/:room_id", enter, slow_consumers=conflate("key")
    ),
}
for lobby in rooms.values():
    lobby.on_message("say", say)
    lobby.on_message("ask", answer)
pond_app = PondASGIApp(pond)
# Objects that belong to connections.
OF_CONNECTIONS = (
    "ASGIWebSocketTransport",
    "SSEStream",
    "Session",
    "MessageLimits",
    "Lanes",
    "ConnectRequest",
    "Member",
    "Channel",
)
scopes: dict[str, anyio.CancelScope] = {}


async def state() -> dict[str, object]:
    """Return what there is for the application, the loop, the system and the garbage collector."""
    gc.collect()
    # glibc keeps tens of MiB at the end of the heap of a process that has once had them.
    _give_back(0)
    kinds = Tally(type(thing).__name__ for thing in gc.get_objects())
    return {
        "pid": os.getpid(),
        "connections": await sockets.connection_count(),
        "users": {
            channel.name: await channel.user_count()
            for lobby in rooms.values()
            for channel in await lobby.list_channels()
        },
        "ends": ends.codes,
        "counts": numbers.counts,
        "tasks": len(anyio.get_running_tasks()),
        "descriptors": open_descriptors(),
        "of_connections": {name: kinds[name] for name in OF_CONNECTIONS},
    }


def open_descriptors() -> int:
    # Without the name by which workers know of each other: the first request takes it.
    table = Path("/proc/net/unix").read_text().splitlines()
    names = {f"socket:[{line.split()[6]}]" for line in table if "@pondsocket:" in line}
    return sum(_target(each) not in names for each in Path("/proc/self/fd").iterdir())


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:  # that of the folder itself
        return ""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve `/state` and `/cancel?user=…`, and leave everything else to the pond.

    Each connection runs in a scope of its own, as in a host application with time limits.
    """
    if scope["type"] == "lifespan":
        await pond_app(scope, receive, send)
        return
    user = parse_qs(scope["query_string"].decode()).get("user", [""])[0]
    if scope["path"] == "/state":
        await send_json(send, await state())
    elif scope["path"] == "/cancel":
        scopes[user].cancel()
        await send_json(send, await state())
    elif scope["type"] == "http" and scope["method"] != "GET":
        await pond_app(scope, receive, send)
    else:
        with anyio.CancelScope() as own:
            scopes[user] = own
            await pond_app(scope, receive, send)
        # The next test's connection of this name may be there before this one has ended.
        if scopes.get(user) is own:
            del scopes[user]
