"""Ponds with one endpoint and one lobby, for the tests of the core; `members` has their members."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    Endpoint,
    EventContext,
    Handler,
    JoinContext,
    Lobby,
    Middleware,
    Options,
    PondSocket,
)
from pondsocket.adapter import Refusal, Session
from pondsocket.testing import FakeClock, MemoryPeer
from pondsocket_common import Headers, QueryParams

ROOM = "/room/1"
# What an application's error says, and no client may read.
SECRET = "postgres://ann:secret@db"


class PondSetup(NamedTuple):
    pond: PondSocket
    endpoint: Endpoint
    lobby: Lobby


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query.get("user"))


# For what has nothing to do with how often a client may send.
UNLIMITED = Options(event_rate=None, control_rate=None, max_refusals=None)


async def accept_join(ctx: JoinContext) -> None:
    await ctx.accept()


async def join_and_track(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.track({"who": ctx.user.id})


async def raise_secret(*, waits: bool) -> None:
    """Fail, at once or after a wait, with a text that no client may read."""
    if waits:
        await anyio.lowlevel.checkpoint()
    raise LookupError(SECRET)


async def relay(ctx: EventContext) -> None:
    await ctx.broadcast(ctx.event_name, ctx.get_payload())


def build(
    join: Handler = accept_join,
    *middlewares: Middleware[JoinContext],
    connect: Handler = admit,
    options: Options | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PondSetup:
    """Return a pond with `/socket` and `/room/:id`, which relays the event `say` to all."""
    pond = PondSocket(options=options, clock=clock)
    endpoint = pond.create_endpoint("/socket", connect)
    lobby = endpoint.create_channel("/room/:id", join, *middlewares)
    lobby.on_message("say", relay)
    return PondSetup(pond, endpoint, lobby)


def timed(options: Options) -> tuple[PondSetup, FakeClock]:
    """Return a pond as `build` makes it, and the clock of its rates."""
    clock = FakeClock(1_000.0)
    return build(options=options, clock=clock), clock


def request(path: str = "/socket", query: Sequence[tuple[str, str]] = ()) -> ConnectRequest:
    return ConnectRequest(path, Headers([]), QueryParams(query), "127.0.0.1", "websocket")


async def find_session(
    pond: PondSocket, connection_id: str, request: ConnectRequest
) -> Session | Refusal | None:
    return await pond.streams.find_session(connection_id, request)


def error_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged as an error."""
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def logged_error(caplog: pytest.LogCaptureFixture) -> str:
    """Return the text of the one error that was logged, with a traceback."""
    (record,) = error_records(caplog)
    assert record.exc_info is not None
    return record.getMessage()


class SlowConnect:
    """A connection handler that waits until it may decide.

    Args:
        decide: What it decides.
    """

    def __init__(self, decide: Callable[[ConnectionContext], object]) -> None:
        self._decide = decide
        self.asked = anyio.Event()
        self.opened = anyio.Event()

    async def __call__(self, ctx: ConnectionContext) -> None:
        self.asked.set()
        await self.opened.wait()
        self._decide(ctx)


@asynccontextmanager
async def connecting(pond: PondSocket) -> AsyncIterator[list[Session | Refusal]]:
    """Connect while the block runs; after it the outcome is in the list."""
    outcomes: list[Session | Refusal] = []

    async def connect() -> None:
        outcomes.append(await pond.connect(request()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        yield outcomes


@asynccontextmanager
async def running(call: Callable[[], Awaitable[object]]) -> AsyncIterator[anyio.Event]:
    """Run a call beside the block; the event says that it has returned."""
    returned = anyio.Event()

    async def run() -> None:
        await call()
        returned.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield returned


async def served(session: Session) -> MemoryPeer:
    """Serve a connection until it ends, and return its client."""
    peer = MemoryPeer(session)
    with anyio.fail_after(2):
        await session.run(peer, peer.pull)
    return peer


async def admitted(pond: PondSocket, user: str = "ann") -> Session:
    outcome = await pond.connect(request(query=[("user", user)]))
    assert isinstance(outcome, Session)
    return outcome


async def assert_nothing_left(setup: PondSetup) -> None:
    assert await setup.endpoint.connection_count() == 0
    assert await setup.lobby.list_channels() == []
