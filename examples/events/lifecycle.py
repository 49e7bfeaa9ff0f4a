# Connected, disconnected, error: what happens to a connection, which is sent to and closed.
#
# Run it with `uvicorn examples.events.lifecycle:app`; clients connect to `/socket`. As there is no
# login, each connection has a user id of its own; the first message tells it to the client.

from pondsocket import ConnectionContext, DisconnectContext, ErrorContext, EventContext, PondSocket
from pondsocket_asgi import PondASGIApp

app = PondASGIApp(pond := PondSocket())


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


@socket.on_message("divide")
async def divide(ctx: EventContext, a: int, b: int) -> None:
    await ctx.push("quotient", {"id": ctx.user.id, "value": a / b})  # to this connection


@socket.on_disconnect
async def disconnected(ctx: DisconnectContext) -> None:
    await ctx.broadcast("disconnected", {"id": ctx.user.id})  # to all others


@pond.on_error
async def failed(error: ErrorContext) -> None:
    await pond.disconnect(user_id=error.user_id, reason=f"{error.event} failed")
