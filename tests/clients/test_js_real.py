"""The client on Node against a real server, over both transports."""

import subprocess

import pytest

from tests.servers import Server

from .node import HERE, node

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]


@pytest.mark.parametrize("ws", ["websockets-sansio", "pondsocket_asgi.fastlane:Protocol"])
@pytest.mark.parametrize("transport", ["websocket", "websocket own", "sse"])
def test_client_on_node(transport: str, ws: str) -> None:
    with Server("tests.interop.server:app", "--ws", ws) as server:
        # Before Node 22 its own WebSocket needs the option.
        command = [node(), "--experimental-websocket", "real.mjs", f"{server.http_url}/socket"]
        command += transport.split()
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + server.log()[-2000:]
        assert done.stdout == "done\n"
