"""Every example, served as its first lines say, and asked what a new user would ask."""

import re
from typing import Final, NamedTuple

import pytest

from tests.integration.clients import TRANSPORTS, Transport, frame
from tests.integration.conftest import Shared
from tests.integration.connector import Connector, Refused, expect_not_found
from tests.servers import ROOT, Serve, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


class Example(NamedTuple):
    """An example that is being served.

    Args:
        mount: Where the pond is mounted in its host.
        url: Where its endpoint answers.
    """

    server: Server
    mount: str
    url: str


APPS: Final = {
    "quickstart": "",
    "fastapi_app": "/ws",
    "starlette_app": "/ws",
    "litestar_app": "/ws",
    "django_app": "/ws",
    "sanic_app": "/ws",
    "sanic_server": "/ws",
}
HOSTED: Final = [name for name, mount in APPS.items() if mount]


def command(name: str) -> list[str]:
    """Return what the file says how to run it."""
    text = (ROOT / "examples" / f"{name}.py").read_text()
    found = re.search(r"`(?:uvicorn|sanic) ([^`]+)`", text)
    assert found, f"{name}.py does not say how to run it"
    return found[1].split()


@pytest.fixture
def example(request: pytest.FixtureRequest, shared: Shared) -> Example:
    name: str = request.param
    server = shared(*command(name), server="sanic" if name == "sanic_server" else "uvicorn")
    return Example(server, APPS[name], address(server, APPS[name]))


def address(server: Server, mount: str = "") -> str:
    """Where the endpoint of an example answers."""
    return f"{server.http_url}{mount}/socket?token=secret"


every_example = pytest.mark.parametrize("example", APPS, indirect=True)
every_host = pytest.mark.parametrize("example", HOSTED, indirect=True)


@every_example
async def test_an_example_is_a_chat(
    connect: Connector, example: Example, transport: Transport, room: str
) -> None:
    await chat(connect, example.url, transport, room.replace("/room", "/chat"))


@every_example
async def test_an_example_serves_the_client_for_browsers(
    connect: Connector, example: Example
) -> None:
    url = f"{example.server.http_url}{example.mount}/pondsocket.js"
    answer = await connect.http.get(url, headers={"origin": "https://elsewhere.example"})
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.text.count("export const connect") == 1


async def chat(connect: Connector, url: str, transport: Transport, room: str) -> None:
    """Ann comes first and leaves first; Bob is there over the other transport."""
    other: Transport = "sse" if transport == "websocket" else "websocket"
    ann = await connect(transport, url)
    assert (ann.hello["action"], ann.hello["event"]) == ("CONNECT", "CONNECTION")
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"
    assert (await ann.receive())["payload"]["presence"] == [{"status": "online"}]

    bob = await connect(other, url)
    assert (await bob.join(room))["event"] == "ACKNOWLEDGE"
    for client in (ann, bob):
        assert (await client.receive_event("PRESENCE", "JOIN"))["channelName"] == room
        await client.send("BROADCAST", room, "message", {"text": "hi"})
        for hearer in (ann, bob):
            said = await hearer.receive_event("BROADCAST", "message")
            assert said == frame("BROADCAST", "message", room, said["requestId"], {"text": "hi"})

    await ann.close()
    gone = await bob.receive_event("PRESENCE", "LEAVE")
    assert gone["payload"]["presence"] == [{"status": "online"}]
    carl = await connect(transport, url)
    await carl.join(room)
    await carl.send("BROADCAST", room, "message", {"text": "still here?"})
    assert (await bob.receive_event("BROADCAST", "message"))["payload"]["text"] == "still here?"


@every_example
async def test_beside_its_endpoint_there_is_nothing(
    connect: Connector, example: Example, transport: Transport
) -> None:
    await expect_not_found(
        connect, transport, f"{example.server.http_url}{example.mount}/elsewhere"
    )


@every_host
async def test_the_hosts_own_page_is_served(connect: Connector, example: Example) -> None:
    assert (await connect.http.get(f"{example.server.http_url}/")).status_code == 200
    assert (await connect.http.get(f"{example.server.http_url}/elsewhere")).status_code == 404


@every_host
async def test_other_websocket_paths_are_refused_without_a_fuss(
    connect: Connector, example: Example
) -> None:
    for path in ("/elsewhere", "/socket", "/wsx/socket"):
        with pytest.raises(Refused) as refused:
            await connect.websocket(f"{example.server.http_url}{path}")
        assert refused.value.status in (403, 404)
    assert "Traceback" not in example.server.log()


@every_host
async def test_a_last_slash_is_no_other_path(
    connect: Connector, example: Example, transport: Transport
) -> None:
    url = example.url.replace("/socket", "/socket/")
    assert (await connect(transport, url)).hello["event"] == "CONNECTION"


@pytest.mark.parametrize("example", ["quickstart"], indirect=True)
async def test_the_quick_start_wants_its_token(
    connect: Connector, example: Example, transport: Transport
) -> None:
    with pytest.raises(Refused) as refused:
        await connect(transport, example.url.replace("secret", "guess"))
    assert refused.value.status == 401
    assert refused.value.json()["message"] == "Invalid token"


@pytest.mark.parametrize("example", ["fastapi_app"], indirect=True)
async def test_a_route_speaks_in_a_room(
    connect: Connector, example: Example, transport: Transport, room: str
) -> None:
    name = room.removeprefix("/room/")
    news = f"{example.server.http_url}/rooms/{name}/news"
    assert (await connect.http.post(news, json={"text": "hi"})).status_code == 404
    ann = await connect(transport, example.url)
    await ann.join(f"/chat/{name}")
    assert (await connect.http.get(f"{example.server.http_url}/")).json()["rooms"] >= 1
    assert (await connect.http.post(news, json={"text": "hi"})).status_code == 204
    assert (await ann.receive_event("BROADCAST", "news"))["payload"] == {"text": "hi"}


async def test_a_mounted_app_works_without_any_lifespan(
    connect: Connector, shared: Shared, transport: Transport, room: str
) -> None:
    server = shared(*command("fastapi_app"), "--lifespan", "off")
    await chat(connect, address(server, "/ws"), transport, room.replace("/room", "/chat"))


async def test_under_a_root_path_the_process_answers_at_its_own_path(
    connect: Connector, shared: Shared, transport: Transport, room: str
) -> None:
    server = shared(*command("quickstart"), "--root-path", "/ws")
    await chat(connect, address(server), transport, room.replace("/room", "/chat"))
    with pytest.raises(Refused) as refused:
        await connect(transport, address(server, "/ws"))
    assert refused.value.status == 404


async def test_a_host_under_a_root_path_has_its_mount_below_it(
    connect: Connector, shared: Shared, transport: Transport, room: str
) -> None:
    server = shared(*command("django_app"), "--root-path", "/site")
    await chat(connect, address(server, "/ws"), transport, room.replace("/room", "/chat"))
    assert (await connect.http.get(f"{server.http_url}/")).status_code == 200


# Every two of them meet.
@pytest.mark.parametrize(
    ("ws", "http", "loop"),
    [
        ("websockets", "h11", "asyncio"),
        ("websockets", "httptools", "uvloop"),
        ("websockets-sansio", "h11", "uvloop"),
        ("websockets-sansio", "httptools", "asyncio"),
        ("wsproto", "h11", "asyncio"),
        ("wsproto", "httptools", "uvloop"),
    ],
)
async def test_the_quick_start_runs_on_every_protocol_and_loop(
    connect: Connector, serve: Serve, loop: str, ws: str, http: str
) -> None:
    if ws == "wsproto":
        pytest.importorskip("wsproto")
    server = serve(*command("quickstart"), "--loop", loop, "--ws", ws, "--http", http)
    for transport in TRANSPORTS:
        await chat(connect, address(server), transport, f"/chat/{transport}")
        with pytest.raises(Refused) as refused:
            await connect(transport, address(server).replace("secret", "guess"))
        assert refused.value.status == 401
        assert refused.value.json() == {
            "error": "UNAUTHORIZED_CONNECTION",
            "code": 401,
            "message": "Invalid token",
        }
    assert "Traceback" not in server.log()
