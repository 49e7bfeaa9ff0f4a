"""The client published on npm, on Node, over both of its transports."""

import shutil

import pytest

from tests.interop import client_processes
from tests.servers import Serve, Server

pytestmark = pytest.mark.interop

PEER = client_processes.HERE / "npm" / "peer.mjs"


@pytest.fixture(scope="module")
def node() -> str:
    """Return the command that runs the peer, in whose directory the client is installed."""
    found = shutil.which("node")
    if found is None:
        pytest.fail("Node is not on the PATH: install it, then run `nox -s interop`", pytrace=False)
    if not (PEER.parent / "node_modules" / "@eleven-am" / "pondsocket-client").is_dir():
        pytest.fail("The npm client is not installed: run `nox -s interop`", pytrace=False)
    return found


@pytest.mark.parametrize("scenario", client_processes.SCENARIOS)
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client(node: str, server: Server, transport: str, scenario: str) -> None:
    client_processes.run(
        [node, str(PEER), f"{server.http_url}/socket", transport, scenario], server
    )


@pytest.mark.parametrize("scenario", [*client_processes.SCENARIOS, client_processes.LATE])
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_is_not_disturbed_by_history(
    node: str, remembering_server: Server, transport: str, scenario: str
) -> None:
    url = f"{remembering_server.http_url}/socket"
    client_processes.run([node, str(PEER), url, transport, scenario], remembering_server)


@pytest.mark.parametrize(
    "scenario",
    ["broadcasts", "gets the response to its own request", "sees who comes changes and goes"],
)
def test_npm_clients_on_both_transports_meet(node: str, server: Server, scenario: str) -> None:
    client_processes.run([node, str(PEER), f"{server.http_url}/socket", "mixed", scenario], server)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_is_not_disturbed_by_heartbeats(
    node: str, beating_server: Server, transport: str
) -> None:
    command = [
        node,
        str(PEER),
        f"{beating_server.http_url}/socket",
        transport,
        client_processes.HEARTBEATS,
    ]
    client_processes.run_with_heartbeats(command, beating_server)


@pytest.mark.timeout(client_processes.RESTART_TEST_SECONDS)
@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_rejoins_after_a_restart(
    node: str, serve: Serve, transport: str, graceful: bool
) -> None:
    server = serve(client_processes.APP)
    command = [node, str(PEER), f"{server.http_url}/socket", transport, client_processes.RESTART]
    client_processes.run_with_restart(command, server, lambda: server.restart(graceful=graceful))
