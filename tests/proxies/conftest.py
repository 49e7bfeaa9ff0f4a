"""A server, a real nginx in front of it, and clients that come through nginx."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Final, TypeAlias

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import TRANSPORTS, Transport
from tests.integration.dialing import Dialer
from tests.nginx import Nginx
from tests.servers import RECOMMENDED, Server

APP: Final = "tests.integration.doors_app:app"

# `proxied(server)`, or with a configuration of its own `proxied(server, site)`.
Proxied: TypeAlias = Callable[..., Nginx]


@pytest.fixture
def anyio_backend() -> str:
    """The clients are asyncio's; the server is a process of its own."""
    return "asyncio"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Run a test over each transport."""
    transport: Transport = request.param
    return transport


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with the options of the deployment page."""
    with Server(APP, *RECOMMENDED["uvicorn"]) as server:
        yield server


@pytest.fixture(scope="module")
def nginx(server: Server) -> Iterator[Nginx]:
    """nginx with the configuration of the deployment page, in front of the server."""
    with Nginx(server) as nginx:
        yield nginx


@pytest.fixture
def proxied() -> Iterator[Proxied]:
    """Start an nginx in front of a server; ended with the test."""
    with ExitStack() as proxies:

        def start(server: Server, site: str | None = None) -> Nginx:
            return proxies.enter_context(Nginx(server, site))

        yield start


@pytest.fixture
async def dial() -> AsyncIterator[Dialer]:
    """Connect clients, as `client = await dial("websocket", url)`; closed with the test."""
    async with Dialer() as dialer:
        yield dialer


@pytest.fixture
def room() -> str:
    """The name of a channel that nobody else uses."""
    return f"/room/{fresh_id()}"
