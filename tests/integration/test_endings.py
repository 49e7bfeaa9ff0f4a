"""The end of a server with connections open."""

import os
import signal

import pytest

from tests.integration.clients import Transport, until
from tests.integration.connector import Connector
from tests.servers import Serve, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP = "tests.integration.app:app"


async def ends(server: Server) -> None:
    """Ask the server to end, and wait until it has."""
    os.kill(server.pid, signal.SIGTERM)

    async def has_ended() -> bool:
        return "Finished server process" in server.log()

    await until(has_ended, "the server ended")
    assert "Traceback" not in server.log()


async def test_uvicorn_closes_websockets_when_it_is_terminated(
    connect: Connector, serve: Serve, room: str
) -> None:
    server = serve(APP)
    ann = await connect.websocket(f"{server.http_url}/socket")
    await ann.join(room, {"show": {}})
    await ends(server)
    await ann.wait_closed()
    assert ann.close_code == 1012


async def test_uvicorn_ends_streams_when_their_time_is_up(
    connect: Connector, serve: Serve, room: str
) -> None:
    # Without a limit it waits for as long as streams are open, and they never end by themselves.
    server = serve(APP, "--timeout-graceful-shutdown", "1")
    ann = await connect.websocket(f"{server.http_url}/socket")
    bob = await connect.sse(f"{server.http_url}/socket")
    for client in (ann, bob):
        await client.join(room, {"show": {}})
    await ends(server)
    await ann.wait_closed()
    await bob.wait_closed()


async def test_clients_come_back_to_a_server_that_was_killed_and_started_again(
    connect: Connector, serve: Serve, transport: Transport, room: str
) -> None:
    server = serve(APP)
    ann = await connect(transport, f"{server.http_url}/socket")
    await ann.join(room)
    server.restart(graceful=False)
    await ann.wait_closed()
    again = await connect(transport, f"{server.http_url}/socket")
    assert (await again.join(room))["event"] == "ACKNOWLEDGE"
    assert again.hello["payload"]["connectionId"] != ann.hello["payload"]["connectionId"]
