"""The fast lane of a real uvicorn behind middlewares that replace `send`."""

import json
from typing import Final

import pytest
from websockets.asyncio.client import connect as connect_websocket

from tests.integration.clients import TRANSPORTS, Message, until
from tests.integration.connector import Connector
from tests.integration.server_state import ask
from tests.servers import FAST_LANE, Serve, Server

pytestmark = pytest.mark.integration


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Run a test on each event loop."""
    name: str = request.param
    return name


HOSTED: Final = "tests.integration.hosted_lane_app:app"


async def lane_state(server: Server, sockets: int) -> Message:
    """Return what the app tells, once this many connections are open."""
    state: Message = {}

    async def settled() -> bool:
        state.update(await ask(server, "/state"))
        return bool(state["open"] == sockets)

    await until(settled, f"{sockets} open connections")
    return state


async def test_broadcasts_behind_known_middlewares_take_the_lane_and_have_no_task(
    serve: Serve, loop: str, connect: Connector
) -> None:
    server = serve(HOSTED, "--loop", loop, *FAST_LANE)
    socket_, stream = [
        await connect(transport, f"{server.http_url}/known/socket") for transport in TRANSPORTS
    ]
    for client in (socket_, stream):
        await client.join("/room")
    await socket_.send("BROADCAST", "/room", "say")
    for client in (socket_, stream):
        said = [(await client.receive_event("BROADCAST", "said"))["payload"] for _ in "123"]
        assert said == [{"n": 0}, {"n": 1}, {"n": 2}]
    state = await lane_state(server, 2)
    assert 3 in state["lane"]  # what one turn told, in one write
    assert state["tasks"] == 0
    log = server.log()
    assert log.count("WebSockets take the fast lane") == 1
    assert "replaces `send`" not in log


async def test_a_session_arrives_with_the_stream_and_is_read_by_the_socket(
    serve: Serve, loop: str, connect: Connector
) -> None:
    server = serve(HOSTED, "--loop", loop, *FAST_LANE)
    url = f"{server.http_url}/known/socket"
    headers = {"accept": "text/event-stream", "accept-encoding": "gzip"}
    async with connect.http.stream("GET", url, headers=headers) as stream:
        cookie = stream.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("session=")
        assert "content-encoding" not in stream.headers
    async with connect_websocket(
        f"{server.ws_url}/known/socket", additional_headers={"cookie": cookie}
    ) as client:
        assert json.loads(await client.recv())["event"] == "CONNECTION"
        assert json.loads(await client.recv())["payload"] == {"n": 2}


async def test_a_middleware_of_the_apps_own_turns_it_off_and_the_log_says_so_once(
    serve: Serve, loop: str, connect: Connector
) -> None:
    server = serve(HOSTED, "--loop", loop, *FAST_LANE)
    for _ in range(2):
        for transport in TRANSPORTS:
            client = await connect(transport, f"{server.http_url}/socket")
            await client.join("/room")
            await client.send("BROADCAST", "/room", "say")
            assert (await client.receive_event("BROADCAST", "said"))["payload"] == {"n": 0}
    state = await lane_state(server, 4)
    assert state["lane"] == []
    assert state["tasks"] == 4
    lines = [line for line in server.log().splitlines() if "replaces `send`" in line]
    assert ["the fast lane is off" in line for line in lines] == [True, False]
    for line in lines:
        assert line.startswith(
            "INFO:pondsocket.asgi.transport:tests.integration.hosted_lane_app.Timing replaces"
        )
