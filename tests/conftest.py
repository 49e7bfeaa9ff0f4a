"""Fixtures for every test: the event loops to run on, and real servers."""

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Serve, Server, ServerName

# The same examples on every run, however slow and busy the machine is.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def loops_of_servers() -> Iterator[None]:
    """Start loops as servers do, which anyio recognises only inside of their tasks.

    In what the loop itself calls, at the end of a turn or for another thread, it finds none there.
    """
    with patch("anyio.pytest_plugin.set_current_async_library", lambda _: None):
        yield


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each async test on asyncio and on trio."""
    name: str = request.param
    return name


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server for an app, as `server = serve("examples.chat:app")`; ended with the test."""
    with ExitStack() as servers:

        def start(
            app: str,
            *arguments: str,
            server: ServerName = "uvicorn",
            env: dict[str, str] | None = None,
        ) -> Server:
            return servers.enter_context(Server(app, *arguments, server=server, env=env))

        yield start


def pytest_collection_finish() -> None:
    """Leave out what was collected, and lives to the end, where a test collects garbage.

    Thousands of tests with their parameters made each collection take 0.2 s.
    """
    gc.collect()
    gc.freeze()
