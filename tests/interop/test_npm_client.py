"""The client published on npm, on Node, over both of its transports."""

import shutil

import pytest

from tests.interop import peers
from tests.servers import Serve, Server

pytestmark = pytest.mark.interop

PEER = peers.HERE / "npm" / "peer.mjs"


@pytest.fixture(scope="module")
def node() -> str:
    """The command that runs the peer, in whose directory the client is installed."""
    found = shutil.which("node")
    if found is None:
        pytest.fail("Node is not on the PATH: install it, then run `nox -s interop`", pytrace=False)
    if not (PEER.parent / "node_modules" / "@eleven-am" / "pondsocket-client").is_dir():
        pytest.fail("The npm client is not installed: run `nox -s interop`", pytrace=False)
    return found


@pytest.mark.parametrize("scenario", peers.SCENARIOS)
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client(node: str, server: Server, transport: str, scenario: str) -> None:
    peers.run([node, str(PEER), f"{server.http_url}/socket", transport, scenario], server)


@pytest.mark.parametrize("scenario", [*peers.SCENARIOS, peers.LATE])
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_is_not_disturbed_by_history(
    node: str, remembering_server: Server, transport: str, scenario: str
) -> None:
    url = f"{remembering_server.http_url}/socket"
    peers.run([node, str(PEER), url, transport, scenario], remembering_server)


@pytest.mark.parametrize(
    "scenario",
    ["broadcasts", "gets the response to its own request", "sees who comes changes and goes"],
)
def test_npm_clients_on_both_transports_meet(node: str, server: Server, scenario: str) -> None:
    peers.run([node, str(PEER), f"{server.http_url}/socket", "mixed", scenario], server)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_is_not_disturbed_by_heartbeats(
    node: str, beating_server: Server, transport: str
) -> None:
    command = [node, str(PEER), f"{beating_server.http_url}/socket", transport, peers.HEARTBEATS]
    peers.run_with_heartbeats(command, beating_server)


@pytest.mark.timeout(peers.RESTART_TEST_SECONDS)
@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_npm_client_rejoins_after_a_restart(
    node: str, serve: Serve, transport: str, graceful: bool
) -> None:
    server = serve(peers.APP)
    command = [node, str(PEER), f"{server.http_url}/socket", transport, peers.RESTART]
    peers.run_with_restart(command, server, lambda: server.restart(graceful=graceful))
