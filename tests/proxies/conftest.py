"""A server, a real nginx in front of it, and clients that come through nginx."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, TypeAlias

import pytest

# These are fixtures.
from tests.integration.conftest import anyio_backend as anyio_backend
from tests.integration.conftest import connect as connect
from tests.integration.conftest import room as room
from tests.integration.conftest import transport as transport
from tests.nginx import Nginx
from tests.servers import RECOMMENDED, Server

APP: Final = "tests.integration.portable_app:app"

# `proxied(server)`, or with a configuration of its own `proxied(server, site)`.
Proxied: TypeAlias = Callable[..., Nginx]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield a server with the options of the deployment page."""
    with Server(APP, *RECOMMENDED["uvicorn"]) as server:
        yield server


@pytest.fixture(scope="module")
def nginx(server: Server) -> Iterator[Nginx]:
    """Start nginx with the configuration of the deployment page, in front of the server."""
    with Nginx(server) as nginx:
        yield nginx


@pytest.fixture
def proxied() -> Iterator[Proxied]:
    """Start an nginx in front of a server; ended with the test."""
    with ExitStack() as proxies:

        def start(server: Server, site: str | None = None) -> Nginx:
            return proxies.enter_context(Nginx(server, site))

        yield start
