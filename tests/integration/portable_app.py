"""A pond for every server, on asyncio and on trio: it answers, refuses and closes as asked."""

from pondsocket import CloseCode, ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.integration.refusing import refuse
from tests.state_route import Message, Receive, Send


def admit(ctx: ConnectionContext, user: str | None = None) -> None:
    if user is None:
        ctx.accept()
    else:
        ctx.accept(user_id=user)


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def say(ctx: EventContext) -> None:
    await ctx.reply("heard", {})
    await ctx.broadcast("said", ctx.get_payload())


async def end(ctx: EventContext, user: str, code: int) -> None:
    await pond.disconnect(user_id=user, reason="Asked for, Žofie", code=CloseCode(code))


async def crowd(ctx: EventContext) -> int:
    return await sockets.connection_count()


pond = PondSocket(options=Options(connect_timeout=0.5))
sockets = pond.create_endpoint("/socket", admit)
sockets.on_message("end", end)
sockets.on_message("crowd", crowd)
pond.create_endpoint("/refuse/:how", refuse)
rooms = sockets.create_channel("/room/:room_id", enter)
rooms.on_message("say", say)

full = PondSocket(options=Options(max_connections=0))
full.create_endpoint("/full", admit)
# Without what keeps idle connections alive.
quiet = PondSocket(options=Options(heartbeat_seconds=None, sse_keepalive_seconds=3600))
quiet.create_endpoint("/quiet", admit)

pond_app = PondASGIApp(pond)
others = {"/full": PondASGIApp(full), "/quiet": PondASGIApp(quiet)}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Leave `/full` and `/quiet` to ponds of their own."""
    await others.get(scope.get("path", ""), pond_app)(scope, receive, send)
