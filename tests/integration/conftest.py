"""Servers that many tests share, and clients for them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import TRANSPORTS, Client, Transport
from tests.integration.connector import Connector
from tests.integration.engine_clients import OTHER, EngineClients
from tests.servers import FAST_LANE, SERVERS, Server, ServerName, Setup

Shared: TypeAlias = Callable[..., Server]


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, as the clients do; the server is a process of its own."""
    return "asyncio"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Run a test over each transport."""
    transport: Transport = request.param
    return transport


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Run a test on each server."""
    setup: Setup = request.param
    return setup


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    """Servers like `serve`'s, but one for all tests: `shared("module:app", *arguments)`."""
    running: dict[tuple[str, ...], Server] = {}
    with ExitStack() as servers:

        def start(*command: str, server: ServerName = "uvicorn") -> Server:
            key = (server, *command)
            if key not in running:
                running[key] = servers.enter_context(Server(*command, server=server))
            return running[key]

        yield start


@pytest.fixture
def server(shared: Shared) -> Server:
    """Return the server of `tests/integration/app.py`."""
    # Which sends any status from 400 to 599, as its base class does, the protocol of `engine`.
    return shared("tests.integration.app:app", "--log-level", "warning", *FAST_LANE)


@pytest.fixture
def engine(shared: Shared) -> Server:
    """Return the server of `tests/integration/engine_app.py`."""
    ws = ("--ws", "websockets-sansio")
    return shared("tests.integration.engine_app:app", "--log-level", "warning", *ws)


@pytest.fixture
async def connect() -> AsyncIterator[Connector]:
    """Connect clients, as `client = await connect("websocket", url)`; closed with the test."""
    async with Connector() as connector:
        yield connector


@pytest.fixture
def clients(connect: Connector, engine: Server) -> EngineClients:
    """Return what connects clients to `engine`."""
    return EngineClients(connect, engine.http_url)


@pytest.fixture
async def ann(clients: EngineClients, transport: Transport, room: str) -> Client:
    """Return a member of `room` at `engine`; modules for other servers have their own `ann`."""
    return await clients.member(transport, "ann", room)


@pytest.fixture
async def bob(clients: EngineClients, transport: Transport, room: str) -> Client:
    """Return another member, over the other transport."""
    return await clients.member(OTHER[transport], "bob", room)


@pytest.fixture
def room() -> str:
    """Return the name of a channel that no other test uses."""
    return f"/room/{fresh_id()}"
