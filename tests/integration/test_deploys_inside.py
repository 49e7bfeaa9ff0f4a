"""Servers in the versions that are locked still have inside what is looked for there."""

import pytest

from tests.integration.clients import Client, Message
from tests.integration.conftest import Shared
from tests.integration.connector import Connector
from tests.integration.draining_clients import Crowd, check
from tests.servers import Serve

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP = "tests.integration.deploy_inside_app:app"
BOTH = ["SIGTERM", "SIGINT"]


async def found(client: Client) -> Message:
    """Return what the app found at this connection."""
    greeting = await client.receive_event("SYSTEM", "found")
    payload: Message = greeting["payload"]
    return payload


@pytest.fixture(params=["websockets", "websockets-sansio", "wsproto"])
def uvicorn_url(request: pytest.FixtureRequest, shared: Shared) -> str:
    """Return the URL of uvicorn with one of its WebSocket implementations."""
    server = shared(APP, "--ws", request.param, "--ws-ping-interval", "7")
    return f"{server.http_url}/socket"


async def test_uvicorn_is_known_by_its_pings_and_its_way_to_restart(
    connect: Connector, uvicorn_url: str
) -> None:
    socket, stream = await connect.websocket(uvicorn_url), await connect.sse(uvicorn_url)
    known: Message = {"drain_limit": None, "holds": BOTH}
    assert await found(socket) == {"ping_seconds": 7.0, "says_restart": True, **known}
    assert await found(stream) == {"ping_seconds": None, "says_restart": False, **known}


async def test_a_peer_that_says_restart_drains_no_connection(
    connect: Connector, uvicorn_url: str
) -> None:
    ann, bob = await connect.websocket(uvicorn_url), await connect.sse(uvicorn_url)
    for reason in ("", "said by a peer"):
        other = await connect.websocket(uvicorn_url)
        await other.connection.close(1012, reason)
    await connect.websocket(uvicorn_url)
    for client in (ann, bob):
        await found(client)
        assert not client.unread


@pytest.mark.parametrize(
    ("worker_class", "workers", "holds"),
    [("asyncio", "0", BOTH), ("asyncio", "1", ["SIGTERM"]), ("trio", "0", BOTH)],
)
async def test_hypercorn_is_known_by_its_pings_and_the_end_of_its_worker(
    serve: Serve, connect: Connector, worker_class: str, workers: str, holds: list[str]
) -> None:
    server = serve(
        APP,
        *("--worker-class", worker_class, "--workers", workers),
        *("--websocket-ping-interval", "7", "--graceful-timeout", "5"),
        server="hypercorn",
    )
    for transport in (connect.websocket, connect.sse):
        client = await transport(f"{server.http_url}/socket")
        assert await found(client) == {
            "ping_seconds": 7.0,
            "says_restart": False,
            "drain_limit": 4.5,
            "holds": holds,
        }


async def test_granian_has_no_pings_and_nothing_else_to_be_found(
    serve: Serve, connect: Connector
) -> None:
    server = serve(APP, server="granian")
    client = await connect.websocket(f"{server.http_url}/socket")
    assert await found(client) == {
        "ping_seconds": None,
        "says_restart": False,
        "drain_limit": None,
        "holds": BOTH,
    }


async def test_uvicorns_server_tells_streams_that_its_own_code_ends_it(
    serve: Serve, connect: Connector
) -> None:
    server = serve(APP)
    streams = [await connect.sse(f"{server.http_url}/socket") for _ in range(2)]
    await streams[0].join("/room/1")
    crowd = Crowd(server, [*streams])
    await streams[0].send("BROADCAST", "/room/1", "leave")
    check(await crowd.depart())
    await crowd.exit()
