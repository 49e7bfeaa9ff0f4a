"""What the tests of the core have in common: a pond with one endpoint and one lobby."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import anyio.lowlevel
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    Endpoint,
    EventContext,
    Handler,
    JoinContext,
    LeaveContext,
    LeaveReason,
    Lobby,
    Middleware,
    Options,
    PondSocket,
    ServerActions,
    Session,
    SystemEvents,
)
from pondsocket.testing import FakeClock, MemoryPeer, connect
from pondsocket_common import Headers, QueryParams

ROOM = "/room/1"


class House(NamedTuple):
    pond: PondSocket
    endpoint: Endpoint
    lobby: Lobby


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query.get("user"))


# For what has nothing to do with how often a client may send.
UNLIMITED = Options(event_rate=None, control_rate=None, max_refusals=None)


async def let_in(ctx: JoinContext) -> None:
    await ctx.accept()


async def relay(ctx: EventContext) -> None:
    await ctx.broadcast(ctx.event_name, ctx.get_payload())


def build(
    join: Handler = let_in,
    *middlewares: Middleware[JoinContext],
    connect: Handler = admit,
    options: Options | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> House:
    """A pond with `/socket` and `/room/:id`, where the event `say` is relayed to everybody."""
    pond = PondSocket(options=options, clock=clock)
    endpoint = pond.create_endpoint("/socket", connect)
    lobby = endpoint.create_channel("/room/:id", join, *middlewares)
    lobby.on_message("say", relay)
    return House(pond, endpoint, lobby)


def timed(options: Options) -> tuple[House, FakeClock]:
    """A pond as `build` makes it, and the clock of its rates."""
    clock = FakeClock(1_000.0)
    return build(options=options, clock=clock), clock


def request(path: str = "/socket", query: Sequence[tuple[str, str]] = ()) -> ConnectRequest:
    return ConnectRequest(path, Headers([]), QueryParams(query), "127.0.0.1:5000", "websocket")


@asynccontextmanager
async def member(
    house: House, user: str, name: str = ROOM, *, capacity: int = 100_000
) -> AsyncIterator[MemoryPeer]:
    """Somebody who is connected and has joined; what that brought is received already."""
    async with connect(house.pond, f"/socket?user={user}", capacity=capacity) as peer:
        answer = await peer.join(name)
        assert (answer.action, answer.event) == (ServerActions.SYSTEM, SystemEvents.ACKNOWLEDGE)
        peer.drain()
        yield peer


def say(peer: MemoryPeer, text: str, name: str = ROOM, event: str = "say") -> str:
    return peer.send("BROADCAST", name, event, {"text": text})


def events(peer: MemoryPeer) -> list[str]:
    """The events that have come, received by this."""
    return [message.event for message in peer.drain()]


async def settled() -> None:
    """Wait until nothing can go on by itself."""
    # anyio's own way polls every 0.1 s on asyncio, so most of it is done before.
    for _ in range(30):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


class Leaves:
    """A leave handler that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, LeaveReason]] = []

    async def __call__(self, ctx: LeaveContext) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append((ctx.user.id, ctx.reason))


async def admitted(pond: PondSocket, user: str = "ann") -> Session:
    outcome = await pond.connect(request(query=[("user", user)]))
    assert isinstance(outcome, Session)
    return outcome


async def assert_nothing_left(house: House) -> None:
    assert await house.endpoint.connection_count() == 0
    assert await house.lobby.list_channels() == []
