"""What the client in Python is tested with: `uvicorn tests.clients.python_app:app`."""

from typing import Annotated

import anyio
from pondsocket import (
    ConnectionContext,
    EventContext,
    GatewayContext,
    History,
    JoinContext,
    Options,
    PondError,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel, Field


class Say(BaseModel):
    """What is said."""

    text: Annotated[str, Field(max_length=100)]


class Said(BaseModel):
    """The answer."""

    id: int


def new_pond() -> PondSocket:
    """Make a pond with all that the tests need."""
    pond = PondSocket(options=Options(handler_grace=0.05))

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, user: str = "ann", need: str | None = None) -> None:
        if need is not None and ctx.token != need:
            ctx.decline(401, "Which token?")
        elif user == "stranger":
            ctx.decline(403, "You are not welcome.")
        else:
            ctx.accept(user_id=user)

    @socket.on_message("add_numbers")
    async def add_numbers(ctx: GatewayContext, a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    @socket.on_message("notify_all")
    async def notify_all(ctx: GatewayContext) -> None:
        await socket.broadcast("notice", {"from": ctx.user.id})

    @socket.channel("/chat/:room", history=History(size=10_000, ttl=600))
    async def chat(ctx: JoinContext, nick: str = "") -> None:
        await ctx.accept(response={"welcome": nick})
        await ctx.track({"nick": nick})

    @socket.channel("/plain/:room")
    async def plain(ctx: JoinContext) -> None:
        await ctx.accept()

    @socket.channel("/closed/:room")
    async def closed(ctx: JoinContext) -> None:
        await ctx.decline(403, "Not you.")

    for lobby in (chat, plain):

        @lobby.on_message("say")
        async def say(ctx: EventContext, payload: Say) -> Said:
            await ctx.broadcast("said", payload)
            return Said(id=len(payload.text))

        @lobby.on_message("length_of")
        async def length_of(ctx: EventContext, text: str) -> dict[str, int]:
            return {"length": len(text)}

        @lobby.on_message("burst")
        async def burst(ctx: EventContext, count: int, first: int = 0) -> None:
            for number in range(first, first + count):
                await ctx.broadcast("said", {"n": number})
                if number % 50 == 49:
                    await anyio.lowlevel.checkpoint()

        @lobby.on_message("typing")
        async def typing(ctx: EventContext) -> None:
            await ctx.broadcast("typing", {"user": ctx.user.id})

        @lobby.on_message("conflict")
        async def conflict(ctx: EventContext) -> None:
            raise PondError("Somewhere else.", 409)

        @lobby.on_message("sleep")
        async def sleep(ctx: EventContext) -> None:
            await anyio.sleep(60)

        @lobby.on_message("evict_me")
        async def evict_me(ctx: EventContext) -> None:
            await ctx.evict("rude")

    return pond


app = PondASGIApp(new_pond())
