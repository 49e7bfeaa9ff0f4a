"""A pond that speaks arrays too: `/socket`, with rooms in which many events are sent at once."""

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.array_codec import ARRAY

pond = PondSocket()
app = PondASGIApp(pond)


@pond.endpoint("/socket", codecs=[ARRAY])
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


@socket.channel("/room/:id")
async def room(ctx: JoinContext) -> None:
    await ctx.accept()


@room.on_message("count")
async def count(ctx: EventContext, to: int) -> dict[str, int]:
    for number in range(to):
        await ctx.broadcast("number", {"n": number})
    return {"counted_to": to}
