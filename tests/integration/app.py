"""A pond whose handlers do what the client asks for, and a route that shows what is left."""

import asyncio
from collections import Counter

from pondsocket import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel

from tests.integration.refusing import refuse
from tests.state_route import Message, Receive, Send, count_objects, send_json


class Announced(BaseModel):
    n: int


class SecretlyAnnounced(Announced):
    token: str = "secret"


async def admit(ctx: ConnectionContext) -> None:
    if "greet" in ctx.query:
        ctx.reply("welcome", {"path": ctx.path, "name": ctx.params.get("name", "")})
    if "where" in ctx.query:
        asked = ctx.route.query["where"]
        ctx.reply("where", {"address": ctx.address, "port": ctx.port, "asked": asked})
    if "user" in ctx.query:
        ctx.accept(user_id=ctx.query["user"])
    else:
        ctx.accept()


async def enter(ctx: JoinContext) -> None:
    params = ctx.get_join_params()
    match params.get("how"):
        case "silent":
            return
        case "crash":
            raise ValueError("an inner detail")
        case "slow":
            await asyncio.sleep(60)
        case int(code):
            await ctx.decline(code, "Members only")
            return
        case "late":
            await asyncio.sleep(0.1)
    await ctx.accept()
    if "announce" in params:
        await ctx.broadcast("came", {"name": params["announce"]})
    if "show" in params:
        await ctx.track(params["show"])


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def say_to(ctx: EventContext) -> None:
    await ctx.broadcast_to("said", ctx.get_payload(), *ctx.get_payload()["users"])


async def say_from(ctx: EventContext) -> None:
    await ctx.broadcast_from("said", ctx.get_payload())


async def echo(ctx: EventContext) -> None:
    await ctx.reply("echoed", ctx.get_payload())


async def mingle(ctx: EventContext) -> None:
    await ctx.broadcast("said", {"step": 1})
    await ctx.reply("echoed", {"step": 2})
    await ctx.broadcast("said", {"step": 3})


async def announce(ctx: EventContext) -> None:
    name, users = ctx.channel.name, ctx.get_payload()["users"]
    await ctx.reply(announced, SecretlyAnnounced(n=1))
    await announced(name, n=2)
    await announced.to(*users)(name, SecretlyAnnounced(n=3))
    await ctx.broadcast_from(announced, SecretlyAnnounced(n=4))


async def wait_and_echo(ctx: EventContext) -> None:
    await asyncio.sleep(ctx.get_payload()["seconds"])
    await ctx.reply("echoed", ctx.get_payload())


async def crash(ctx: EventContext) -> None:
    raise ValueError("an inner detail")


async def evict(ctx: EventContext) -> None:
    await ctx.evict("enough", *ctx.get_payload().get("users", []))


async def show(ctx: EventContext) -> None:
    await ctx.update_presence(ctx.get_payload())


async def hide(ctx: EventContext) -> None:
    await ctx.untrack()


async def disconnect(ctx: EventContext) -> None:
    await sockets.close_connection(ctx.get_payload()["user"])


async def left(ctx: LeaveContext) -> None:
    departures[ctx.reason] += 1


departures: Counter[str] = Counter()
pond = PondSocket(options=Options(connect_timeout=0.5, join_timeout=0.5))
sockets = pond.create_endpoint("/socket", admit)
named = pond.create_endpoint("/named/:name", admit)
pond.create_endpoint("/refuse/:how", refuse)
rooms = sockets.create_channel("/room/:room_id", enter)
announced = rooms.event("announced", Announced)
rooms.on_leave(left)
for event, handler in {
    "say": say,
    "say_to": say_to,
    "say_from": say_from,
    "echo": echo,
    "mingle": mingle,
    "announce": announce,
    "wait_and_echo": wait_and_echo,
    "crash": crash,
    "evict": evict,
    "show": show,
    "hide": hide,
    "disconnect": disconnect,
}.items():
    rooms.on_message(event, handler)
pond_app = PondASGIApp(pond)


async def state() -> dict[str, object]:
    """Return what there is for the application, the event loop and the garbage collector."""
    return {
        "connections": await sockets.connection_count(),
        "rooms": {
            room.name: {"users": await room.user_count(), "presence": await room.get_presence()}
            for room in await rooms.list_channels()
        },
        "departures": departures,
        "tasks": len(asyncio.all_tasks()),
        "objects": count_objects(),
    }


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve `/state`, and leave everything else to the pond."""
    if scope["type"] != "http" or scope["path"] != "/state":
        await pond_app(scope, receive, send)
        return
    await send_json(send, await state())
