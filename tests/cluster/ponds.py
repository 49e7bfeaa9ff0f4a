"""Ponds that share an engine in memory, for tests of what their clients see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    PondSocket,
)
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, ServerMessage

KEPT = "/kept/1"
LATEST = "/latest/1"
PLAIN = "/plain/1"
SOCKET = "/socket"


class ClusterPond(PondSocket):
    """A pond whose channels say what they are sent.

    Attributes:
        link: Its access to the engine, with faults.
        left: The users that `on_leave` was called for, and why.
    """

    def __init__(self, hub: MemoryHub, *, options: Options | None = None, **more: Any) -> None:
        self.link: MemoryBackplane = hub.backplane()
        super().__init__(backplane=self.link, options=options, **more)
        self.left: list[tuple[str, str]] = []

        async def left(ctx: LeaveContext) -> None:
            self.left.append((ctx.user.id, ctx.reason))

        endpoint = self.create_endpoint(SOCKET, admit, identity=identify)
        histories = {KEPT: History(), LATEST: History(size=1), PLAIN: None}
        for name, history in histories.items():
            pattern = name.replace("/1", "/:name")
            lobby = endpoint.create_channel(pattern, join, history=history)
            lobby.on_message("say", say)
            lobby.on_message("say_to_others", say_to_others)
            lobby.on_message("evict", evict)
            lobby.on_leave(left)


async def identify(request: ConnectRequest) -> object:
    return request.cookies.get("who")


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


async def join(ctx: JoinContext) -> None:
    latest = ctx.join_params.get("latest")
    await ctx.accept({"name": ctx.user.id}, history=latest)
    if "show" in ctx.join_params:
        await ctx.track({"shows": ctx.join_params["show"]})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())
    await ctx.reply("done", {})


async def say_to_others(ctx: EventContext) -> None:
    await ctx.broadcast_from("said", ctx.get_payload())


async def evict(ctx: EventContext) -> None:
    await ctx.evict("out", str(ctx.get_payload()["user"]))


@asynccontextmanager
async def serving(*ponds: PondSocket) -> AsyncIterator[None]:
    """Serve ponds. On trio they must end in the reverse order."""
    async with AsyncExitStack() as stack:
        for pond in ponds:
            await stack.enter_async_context(pond)
        yield


def client(pond: PondSocket, user: str, **more: Any) -> Any:
    """Connect a user's client."""
    return connect(pond, f"{SOCKET}?user={user}", **more)


async def told() -> None:
    """Wait until all nodes have heard what was sent."""
    await anyio.sleep(0.3)


def said(peer: MemoryPeer) -> list[Any]:
    """Return what a client was sent by broadcasts; drop the rest."""
    messages = [each for each in peer.drain() if each.event == "said"]
    return [payload_of(each).get("text") for each in messages]


def payload_of(message: ServerMessage) -> dict[str, Any]:
    assert isinstance(message.payload, dict)
    return message.payload


def acknowledged(message: ServerMessage) -> Acknowledged:
    assert isinstance(message.payload, Acknowledged), message
    return message.payload
