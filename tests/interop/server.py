"""The pond that the published clients of npm and PyPI talk to."""

import os
from typing import Final

from pondsocket import (
    ConnectionContext,
    EventContext,
    GatewayContext,
    History,
    JoinContext,
    Options,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp

# Seconds between the signs of life of an idle connection, on both transports.
BEAT: Final = os.environ.get("POND_BEAT")
DEPARTURE_SECONDS: Final = 1.5
# With it every message has a position, and event streams have cursors; the clients know neither.
HISTORY: Final = History(size=50) if "POND_HISTORY" in os.environ else None
LATEST: Final = 2


async def admit(ctx: ConnectionContext) -> None:
    if ctx.query.get("token") != "secret":
        ctx.decline(401, "Invalid token")
        return
    ctx.accept(role="member")


async def enter(ctx: JoinContext) -> None:
    name = ctx.join_params.get("name")
    if name == "mallory":
        await ctx.decline(403, "Not in this room")
        return
    await ctx.accept({"name": name})
    await ctx.track({"name": name, "status": "online"})


async def enter_late(ctx: JoinContext) -> None:
    await ctx.accept({"name": ctx.join_params.get("name")}, history=LATEST)
    await ctx.track({"name": ctx.join_params.get("name"), "status": "online"})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", {**ctx.get_payload(), "by": await ctx.get_assign("name")})


async def where(ctx: EventContext) -> None:
    place = {"room": ctx.channel.params["room_id"], "name": await ctx.get_assign("name")}
    await ctx.reply("here", {**ctx.get_payload(), **place})


async def status(ctx: EventContext) -> None:
    name = await ctx.get_assign("name")
    await ctx.update_presence({"name": name, "status": ctx.get_payload()["status"]})


async def add(a: int, b: int) -> int:
    return a + b


async def count(ctx: GatewayContext, to: int) -> None:
    """Push to the client that asks, and then to its user."""
    for number in range(to):
        await ctx.push("said", {"number": number})
    await pond.push(ctx.user.id, "said", {"number": to})


async def announce(text: str) -> None:
    await endpoint.broadcast("said", {"text": text})


async def restart(ctx: EventContext) -> None:
    """Tell all clients that the server restarts, and close them a little later, as a drain does."""
    for session in tuple(endpoint.sessions):
        session.close_for_restart(DEPARTURE_SECONDS)
    await ctx.reply("restarting", {})


def options() -> Options:
    if BEAT is None:
        return Options()
    return Options(heartbeat_seconds=float(BEAT), sse_keepalive_seconds=float(BEAT))


pond = PondSocket(options=options())
endpoint = pond.create_endpoint("/socket", admit)
for event in (add, count, announce):
    endpoint.on_message(event.__name__, event)
rooms = endpoint.create_channel("/room/:room_id", enter, history=HISTORY)
rooms.on_message("say", say)
rooms.on_message("where", where)
rooms.on_message("status", status)
rooms.on_message("restart", restart)
if HISTORY is not None:
    endpoint.create_channel("/late/:room_id", enter_late, history=HISTORY).on_message("say", say)

app = PondASGIApp(pond)
