"""A pond that keeps what is said, and says as much as it is asked to."""

import anyio
from pondsocket import ConnectionContext, EventContext, History, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

pond = PondSocket()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


@socket.channel("/room/:id", history=History(size=30_000, max_bytes=64_000_000))
async def room(ctx: JoinContext) -> None:
    await ctx.accept()


@room.on_message("say")
async def say(ctx: EventContext) -> None:
    """Say numbers, so many a second."""
    payload = ctx.get_payload()
    for number in range(payload["from"], payload["to"] + 1):
        await ctx.broadcast("said", {"n": number})
        if payload.get("rate"):
            await anyio.sleep(1 / payload["rate"])


@room.on_message("whisper")
async def whisper(ctx: EventContext) -> None:
    """Say a number to one user."""
    payload = ctx.get_payload()
    await ctx.broadcast_to("said", {"n": payload["n"]}, payload["to"])


@socket.channel("/price/:symbol", history=History(size=1))
async def price(ctx: JoinContext) -> None:
    await ctx.accept()


price.on_message("say", say)


@socket.channel("/lobby")
async def lobby(ctx: JoinContext) -> None:
    await ctx.accept()


app = PondASGIApp(pond)
