"""The client published on PyPI, in an environment of its own."""

import os
import shutil

import pytest

from tests.interop import client_processes
from tests.servers import Serve, Server

pytestmark = pytest.mark.interop

PEER = client_processes.HERE / "pypi" / "peer.py"


@pytest.fixture(scope="module")
def python() -> str:
    """Return the Python of the environment that holds the client and the older package it needs."""
    found = shutil.which(os.environ.get("POND_PYPI_CLIENT_PYTHON", ""))
    if found is None:
        pytest.fail("The PyPI client is not installed: run `nox -s interop`", pytrace=False)
    return found


@pytest.mark.parametrize("scenario", client_processes.SCENARIOS)
def test_pypi_client(python: str, server: Server, scenario: str) -> None:
    client_processes.run([python, str(PEER), f"{server.http_url}/socket", scenario], server)


@pytest.mark.parametrize("scenario", [*client_processes.SCENARIOS, client_processes.LATE])
def test_pypi_client_is_not_disturbed_by_history(
    python: str, remembering_server: Server, scenario: str
) -> None:
    url = f"{remembering_server.http_url}/socket"
    client_processes.run([python, str(PEER), url, scenario], remembering_server)


def test_pypi_client_is_not_disturbed_by_heartbeats(python: str, beating_server: Server) -> None:
    command = [python, str(PEER), f"{beating_server.http_url}/socket", client_processes.HEARTBEATS]
    client_processes.run_with_heartbeats(command, beating_server)


@pytest.mark.timeout(client_processes.RESTART_TEST_SECONDS)
@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
def test_pypi_client_rejoins_after_a_restart(python: str, serve: Serve, graceful: bool) -> None:
    server = serve(client_processes.APP)
    command = [python, str(PEER), f"{server.http_url}/socket", client_processes.RESTART]
    client_processes.run_with_restart(command, server, lambda: server.restart(graceful=graceful))
