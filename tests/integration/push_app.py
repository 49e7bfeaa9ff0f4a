"""A pond that pushes to single connections, and broadcasts to all of an endpoint."""

import threading

from pondsocket import (
    ConnectionContext,
    ConnectionHandle,
    DisconnectContext,
    EventContext,
    GatewayContext,
    JoinContext,
    PondSocket,
    SyncEventContext,
)
from pondsocket_asgi import PondASGIApp

pond = PondSocket()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext, user: str) -> None:
    ctx.accept(user_id=user)


@socket.on_disconnect
async def disconnected(ctx: DisconnectContext) -> None:
    await ctx.broadcast("gone", {"user": ctx.user.id, "code": ctx.code, "reason": ctx.reason})


@socket.on_message("import")
async def start(ctx: GatewayContext, lines: int) -> str:
    for line in range(lines):
        await ctx.push("progress", {"line": line})
    return "imported"


@socket.on_message("import_later")
async def start_thread(ctx: GatewayContext, lines: int) -> str:
    """Push from a thread that outlives the handler."""
    threading.Thread(target=push_lines, args=(ctx.connection, lines), daemon=True).start()
    return "started"


def push_lines(connection: ConnectionHandle, lines: int) -> None:
    for line in range(lines):
        if not connection.push("progress", {"line": line}):
            return


@socket.on_message("tell")
async def tell(user: str, text: str) -> int:
    return await pond.push(user, "notice", {"text": text})


@socket.on_message("announce")
async def announce(text: str, times: int = 1) -> None:
    for time in range(times):
        await socket.broadcast("announced", {"text": text, "time": time})


@socket.on_message("end")
async def end(ctx: GatewayContext) -> None:
    await ctx.push("last")
    await ctx.close(reason="done")


@socket.channel("/room/:room_id")
async def room(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.push("welcome")


@room.on_message("mix")
async def mix(ctx: EventContext) -> str:
    await ctx.broadcast("said", {"n": 1})
    await ctx.push("mine", {"n": 2})
    await socket.broadcast("announced", {"n": 3})
    await ctx.broadcast("said", {"n": 4})
    await ctx.push("aside", {"n": 5}, channel="GATEWAY")
    await ctx.broadcast_from("said", {"n": 6})
    return "mixed"


@room.on_message("plain")
def plain(ctx: SyncEventContext, count: int) -> str:
    for n in range(count):
        ctx.push("step", {"n": n})
    return "stepped"


app = PondASGIApp(pond)
