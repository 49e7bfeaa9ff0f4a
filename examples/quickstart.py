"""A chat server in thirty lines, on a plain ASGI server.

Run it with `uvicorn examples.quickstart:app`; clients connect to `/socket?token=secret`.
"""

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


async def auth(ctx: ConnectionContext) -> None:
    """Accept clients that know the token."""
    if ctx.query.get("token") != "secret":
        ctx.decline(401, "Invalid token")
        return
    ctx.accept(role="member")  # assigns: server-only data of this connection


async def on_join(ctx: JoinContext) -> None:
    """Let the client join any room; for /chat/42, ctx.route.params is {"room_id": "42"}."""
    await ctx.accept()
    await ctx.track({"status": "online"})


async def on_message(ctx: EventContext) -> None:
    """Broadcast a message to every member of the room."""
    await ctx.broadcast(ctx.event_name, ctx.get_payload())


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", auth)
lobby = endpoint.create_channel("/chat/:room_id", on_join)
lobby.on_message("message", on_message)
app = PondASGIApp(pond)
