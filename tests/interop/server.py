"""The pond that the published clients of npm and PyPI talk to."""

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


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


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", {**ctx.get_payload(), "by": await ctx.get_assign("name")})


async def where(ctx: EventContext) -> None:
    place = {"room": ctx.channel.params["room_id"], "name": await ctx.get_assign("name")}
    await ctx.reply("here", {**ctx.get_payload(), **place})


async def status(ctx: EventContext) -> None:
    name = await ctx.get_assign("name")
    await ctx.update_presence({"name": name, "status": ctx.get_payload()["status"]})


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", admit)
rooms = endpoint.create_channel("/room/:room_id", enter)
rooms.on_message("say", say)
rooms.on_message("where", where)
rooms.on_message("status", status)

app = PondASGIApp(pond)
