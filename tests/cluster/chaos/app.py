"""One of several nodes: it says what it is asked to, and notes who joins and leaves."""

import json
import os
from typing import Any, Final

import anyio
from pondsocket import (
    ConnectionContext,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    PondError,
    PondSocket,
)
from pondsocket.backplane import PublishUncertain
from pondsocket.backplane.redis import RedisBackplane
from pondsocket_asgi import PondASGIApp

CHANNELS: Final = tuple(f"/room/{number}" for number in range(8))
LEASE_SECONDS: Final = float(os.environ.get("CHAOS_LEASE", "5"))
SILENCE_SECONDS: Final = min(3.0, LEASE_SECONDS * 0.8)
# Less than is said in a minute, so that it is trimmed, and far more than a join recovers.
HISTORY: Final = History(size=1_500, ttl=600)

backplane = RedisBackplane(os.environ["CHAOS_REDIS"], lease=LEASE_SECONDS, silence=SILENCE_SECONDS)
pond = PondSocket(
    options=Options(
        heartbeat_seconds=2,
        sse_keepalive_seconds=2,
        drain_seconds=float(os.environ.get("CHAOS_DRAIN", "0.5")),
        handler_grace=1,
    ),
    backplane=backplane,
)
pond_app = PondASGIApp(pond)


def note(what: str, user: str, channel: str) -> None:
    """Add a line to the file of all nodes."""
    line = f"{os.environ['CHAOS_NODE']} {what} {user} {channel}\n"
    file = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


async def join(ctx: JoinContext) -> None:
    note("join", ctx.user.id, ctx.channel.name)
    await ctx.accept()
    await ctx.track({"user": ctx.user.id})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())
    await ctx.reply("noted", ctx.get_payload())


async def left(ctx: LeaveContext) -> None:
    note("leave", ctx.user.id, ctx.channel.name)


endpoint = pond.create_endpoint("/socket", admit)
lobby = endpoint.create_channel("/room/:id", join, history=HISTORY)
lobby.on_message("say", say)
lobby.on_leave(left)


async def speak(asked: dict[str, Any]) -> dict[str, str]:
    """Say all at once. Return what became of each: ok, uncertain or refused."""
    outcomes: dict[str, str] = {}

    async def one(channel: str, number: int) -> None:
        outcomes[str(number)] = "uncertain"
        try:
            await pond.channel("/socket", channel).broadcast("said", {"id": number})
            outcomes[str(number)] = "ok"
        except PublishUncertain:
            pass
        except PondError:
            outcomes[str(number)] = "refused"

    async with anyio.create_task_group() as tasks:
        for channel, number in asked["say"]:
            tasks.start_soon(one, channel, number)
    return outcomes


async def state() -> dict[str, Any]:
    """Return who is where, as this node sees it."""
    found: dict[str, Any] = {"connections": await endpoint.connection_count()}
    for name in CHANNELS:
        channel = pond.channel("/socket", name)
        try:
            shown = sorted(await channel.get_presence())
            found[name] = {"shown": shown, "users": await channel.user_count()}
        except PondError as error:
            found[name] = str(error)
    return found


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/speak` says what it is asked to, `/state` tells who is where; the rest is the pond's."""
    if scope["type"] != "http":
        await pond_app(scope, receive, send)
    elif scope["path"] in ("/speak", "/state"):
        await answer(scope, receive, send)
    else:

        async def send_signed(event: Any) -> None:
            if event["type"] == "http.response.start":
                worker = (b"x-worker", str(os.getpid()).encode())
                event = {**event, "headers": [*event["headers"], worker]}
            await send(event)

        await pond_app(scope, receive, send_signed)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer what is not for the pond."""
    if scope["path"] == "/speak":
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        found: dict[str, Any] = dict(await speak(json.loads(body)))
    else:
        found = await state()
    text = json.dumps(found).encode()
    headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
