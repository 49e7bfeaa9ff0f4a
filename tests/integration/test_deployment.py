"""The servers with the options that the deployment page tells people to write."""

import signal
from typing import Final

import pytest
from pondsocket_common import CloseCode

from tests.integration.connector import Connector
from tests.servers import RECOMMENDED, Serve, Server, ServerName

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP: Final = "tests.integration.portable_app:app"


@pytest.fixture(params=RECOMMENDED)
def server(serve: Serve, request: pytest.FixtureRequest) -> Server:
    """Each server as recommended."""
    name: ServerName = request.param
    return serve(APP, *RECOMMENDED[name], server=name)


async def test_a_recommended_server_serves_and_ends(
    connect: Connector, server: Server, room: str
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    bob = await connect.sse(f"{server.http_url}/socket")
    await ann.join(room)
    assert (await ann.call(room, "say", {"text": "x" * 60_000}))["event"] == "heard"
    long = await connect.websocket(f"{server.http_url}/socket")
    await long.send_raw(b'"' + b"x" * 65_536 + b'"')
    await long.wait_closed()
    assert long.close_code == CloseCode.TOO_BIG

    server.signal(signal.SIGTERM)
    for client in (ann, bob):
        goodbye = await client.receive_event("SYSTEM", "GOODBYE")
        assert (goodbye["payload"]["code"], goodbye["payload"]["reconnect"]) == (1012, True)
        await client.wait_closed()
    assert ann.close_code == CloseCode.RESTART
    assert not bob.is_torn
    server.wait_exit(5)
    assert "Traceback" not in server.log()
    assert "eprecat" not in server.log()
