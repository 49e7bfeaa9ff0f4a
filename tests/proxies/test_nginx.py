"""Both transports through nginx, configured as the deployment page shows, with gzip on."""

import asyncio
import time
from secrets import token_urlsafe
from typing import Final

import anyio
import pytest

from tests.integration.clients import TRANSPORTS, Transport, until
from tests.integration.connector import Connector, Refused
from tests.nginx import DEPLOYED, Nginx
from tests.proxies.conftest import Proxied
from tests.servers import Server

pytestmark = [pytest.mark.proxies, pytest.mark.timeout(60)]

# An event is there in milliseconds, and one that is held back not before the stream ends.
AT_ONCE_SECONDS: Final = 3.0


# --- events -----------------------------------------------------------------------------------


async def test_events_pass_at_once_and_compressed(
    connect: Connector, server: Server, nginx: Nginx, room: str
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    bob = await connect.sse(f"{nginx.http_url}/socket")
    assert bob.response.headers["content-encoding"] == "gzip"
    assert bob.response.headers["content-type"] == "text/event-stream"
    for client in (ann, bob):
        await client.join(room)
    gaps = []
    for number in range(10):
        sent = time.perf_counter()
        await ann.send("BROADCAST", room, "say", {"number": number})
        assert (await bob.receive_event("BROADCAST", "said"))["payload"] == {"number": number}
        gaps.append(time.perf_counter() - sent)
        await anyio.sleep(0.05)
    assert max(gaps) < AT_ONCE_SECONDS, gaps


async def test_without_our_header_the_same_nginx_holds_events_back(
    server: Server, connect: Connector, proxied: Proxied
) -> None:
    # So that the test above means something.
    deaf = DEPLOYED.read_text().replace(
        "proxy_pass http://pond;", "proxy_pass http://pond; proxy_ignore_headers X-Accel-Buffering;"
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(AT_ONCE_SECONDS):
            await connect.sse(f"{proxied(server, deaf).http_url}/socket")


async def test_a_websocket_passes(connect: Connector, nginx: Nginx, room: str) -> None:
    ann = await connect.websocket(f"{nginx.http_url}/socket?user=ann")
    await ann.join(room)
    assert (await ann.call(room, "say", {"number": 1}))["event"] == "heard"
    assert (await ann.receive_event("BROADCAST", "said"))["payload"] == {"number": 1}
    await ann.send("BROADCAST", "GATEWAY", "end", {"user": "ann", "code": 4401})
    await ann.wait_closed()
    assert (ann.close_code, ann.connection.close_reason) == (4401, "Asked for, Žofie")


# --- requests ---------------------------------------------------------------------------------


async def test_posts_pass_and_ours_is_the_limit(
    connect: Connector, nginx: Nginx, room: str
) -> None:
    bob = await connect.sse(f"{nginx.http_url}/socket")
    await bob.join(room)
    assert (await bob.call(room, "say", {"text": "x" * 60_000}))["event"] == "heard"
    answer = await bob.post(b"[" + b" " * 262_144 + b"]")
    assert (answer.status_code, answer.json()["code"]) == (413, 413)
    assert (await bob.delete()).status_code == 204
    await bob.wait_closed()
    assert not bob.is_torn


@pytest.mark.parametrize(("code", "status"), [(401, 401), (4429, 429), (1000, 403), (599, 599)])
async def test_a_refusal_passes_whole(
    connect: Connector, nginx: Nginx, transport: Transport, code: int, status: int
) -> None:
    with pytest.raises(Refused) as refused:
        await connect(transport, f"{nginx.http_url}/refuse/{code}")
    assert (refused.value.status, refused.value.json()["code"]) == (status, status)


async def test_a_page_of_the_proxied_host_may_connect_and_another_may_not(
    connect: Connector, nginx: Nginx
) -> None:
    # nginx passes the Host header on, so that a page's origin is the host that it asks.
    stream = {"accept": "text/event-stream"}
    url = f"{nginx.http_url}/socket"
    async with connect.http.stream("GET", url, headers=stream | {"origin": nginx.http_url}) as own:
        assert own.status_code == 200
    foreign = await connect.http.get(url, headers=stream | {"origin": "https://evil.example"})
    assert foreign.status_code == 403


# --- a proxy that was never told of WebSockets ------------------------------------------------


@pytest.fixture
def plain(server: Server, proxied: Proxied) -> Nginx:
    """Return an nginx without the two lines that pass a handshake on."""
    lines = DEPLOYED.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith("proxy_set_header Upgrade")]
    kept = [line for line in kept if not line.strip().startswith("proxy_set_header Connection")]
    assert len(kept) == len(lines) - 2
    return proxied(server, "".join(kept))


async def test_a_handshake_that_lost_its_upgrade_is_told_why(
    connect: Connector, plain: Nginx
) -> None:
    with pytest.raises(Refused) as refused:
        await connect.websocket(f"{plain.http_url}/socket")
    assert refused.value.status == 426
    assert "proxy" in refused.value.json()["message"]
    assert "Upgrade" in refused.value.json()["message"]


async def test_event_streams_pass_where_websockets_do_not(
    connect: Connector, plain: Nginx, room: str
) -> None:
    bob = await connect.sse(f"{plain.http_url}/socket")
    await bob.join(room)
    assert (await bob.call(room, "say", {"number": 1}))["event"] == "heard"


# --- a client that stops reading --------------------------------------------------------------


@pytest.fixture
def impatient(server: Server, proxied: Proxied) -> Nginx:
    """Return an nginx that ends a client which has read nothing for 2 s instead of 20 s."""
    return proxied(server, DEPLOYED.read_text().replace("send_timeout 20s;", "send_timeout 2s;"))


async def test_a_client_that_stalls_behind_nginx_costs_the_others_nothing(
    connect: Connector, server: Server, impatient: Nginx, transport: Transport, room: str
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    healthy = [await connect(each, f"{impatient.http_url}/socket") for each in TRANSPORTS]
    stalled = await connect(transport, f"{impatient.http_url}/socket")
    for client in (ann, stalled, *healthy):
        await client.join(room)
    connected = (await ann.call("GATEWAY", "crowd"))["payload"]["result"]
    await stalled.stall()
    # 18 MB that no compression makes smaller, each of them when the healthy ones have the last.
    text = token_urlsafe(60_000)[:60_000]
    for number in range(300):
        await ann.send("BROADCAST", room, "say", {"number": number, "text": text})
        for client in healthy:
            said = await client.receive_event("BROADCAST", "said")
            assert said["payload"]["number"] == number

    async def the_server_has_ended_it() -> bool:
        crowd = await ann.call("GATEWAY", "crowd")
        return bool(crowd["payload"]["result"] == connected - 1)

    async def nginx_has_ended_it() -> bool:
        return "client timed out" in impatient.log()

    await until(the_server_has_ended_it, "the server has ended the stalled client")
    await until(nginx_has_ended_it, "nginx has ended the stalled client")
    assert all(not client.closed for client in healthy)
