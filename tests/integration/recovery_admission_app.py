"""A pond that keeps what is said, whose admission a test may withdraw over a control channel."""

import os
from pathlib import Path
from typing import Final

import anyio
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    History,
    JoinContext,
    Options,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp

# Written by the test, since a server that is restarted has the environment that it had.
KEY_FILE: Final = os.environ.get("CURSOR_KEYS")

pond = PondSocket(options=Options(outbox_frames=8))
# Which user is refused where: a channel, or the path of an endpoint.
refused: set[tuple[str, str]] = set()


async def connect(ctx: ConnectionContext) -> None:
    user = ctx.query["user"]
    if (user, "/socket") in refused:
        ctx.decline(401, "Not any more.")
    else:
        ctx.accept(user_id=user)


async def enter(ctx: JoinContext) -> None:
    if (ctx.user.id, ctx.message.channel_name) in refused:
        await ctx.decline(403, "Not any more.")
    else:
        await ctx.accept()


def create_rooms(endpoint: Endpoint) -> None:
    endpoint.create_channel("/room/:id", enter, history=History(size=300))
    endpoint.create_channel("/brief/:id", enter, history=History(ttl=0.05))


socket = pond.create_endpoint("/socket", connect)
create_rooms(socket)
create_rooms(pond.create_endpoint("/other", connect))
control = socket.create_channel("/control", enter)


@control.on_message("say")
async def say(ctx: EventContext) -> None:
    """Broadcast numbers in a room that the member of the control channel is not in."""
    payload = ctx.get_payload()
    room = pond.channel("/socket", payload["room"])
    for number in range(payload["from"], payload["to"] + 1):
        await room.broadcast("said", {"n": number}, history=payload.get("history", True))
    await ctx.reply("done", {})


@control.on_message("refuse")
async def refuse(ctx: EventContext) -> None:
    """Refuse a user at one place from now on."""
    payload = ctx.get_payload()
    refused.add((payload["user"], payload["place"]))
    await ctx.reply("done", {})


@control.on_message("admit")
async def admit(ctx: EventContext) -> None:
    """Admit the user there again."""
    payload = ctx.get_payload()
    refused.discard((payload["user"], payload["place"]))
    await ctx.reply("done", {})


@control.on_message("state")
async def state(ctx: EventContext) -> None:
    """Reply with how a room is, and on which event loop the app runs."""
    room = pond.channel("/socket", ctx.get_payload()["room"])
    kept = await room.history() or []
    loop = anyio.get_cancelled_exc_class().__module__.partition(".")[0]
    members = await room.user_count()
    await ctx.reply("state", {"kept": len(kept), "members": members, "loop": loop})


app = PondASGIApp(pond, cursor_key=Path(KEY_FILE).read_text().split() if KEY_FILE else ())
