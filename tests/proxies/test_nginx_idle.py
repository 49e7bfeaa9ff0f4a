"""Two minutes of silence through an nginx, which cuts idle connections after one."""

import time
from collections import defaultdict
from itertools import pairwise
from typing import Final

import anyio
import pytest

from tests.integration.clients import Client, SSEClient
from tests.integration.connector import Connector
from tests.proxies.conftest import APP, Proxied
from tests.servers import RECOMMENDED, Serve

IDLE_SECONDS: Final = 125.0
# nginx's proxy_read_timeout, which the deployment page leaves as it is.
CUT_SECONDS: Final = 60.0
# `Options.sse_keepalive_seconds` and `heartbeat_seconds`; both may come a beat early.
COMMENT_SECONDS: Final = 15.0
HEARTBEAT_SECONDS: Final = 25.0
EARLY_SECONDS: Final = 1.5
LATE_SECONDS: Final = 1.0

pytestmark = [pytest.mark.proxies, pytest.mark.timeout(IDLE_SECONDS + 75)]


class Silence:
    """What was seen, and when, while no message was sent."""

    def __init__(self) -> None:
        self.comments: dict[Client, list[float]] = defaultdict(list)
        self.messages: dict[Client, list[float]] = defaultdict(list)
        self.ends: dict[Client, float] = {}

    async def watch(self, *clients: Client) -> None:
        """Look at every client four times a second until the time is over."""
        started = time.monotonic()
        comments = {client: client.comments for client in clients if isinstance(client, SSEClient)}
        while (now := time.monotonic() - started) < IDLE_SECONDS:
            for client in clients:
                if client.closed:
                    self.ends.setdefault(client, now)
                if len(client.unread) > len(self.messages[client]):
                    self.messages[client].append(now)
                if isinstance(client, SSEClient) and client.comments > comments[client]:
                    comments[client] = client.comments
                    self.comments[client].append(now)
            await anyio.sleep(0.25)


def comes_every(seconds: float, times: list[float]) -> None:
    """Fail unless something came all the time, in these intervals."""
    for before, after in pairwise([0.0, *times, IDLE_SECONDS]):
        assert after - before < seconds + LATE_SECONDS, times
    for before, after in pairwise(times):
        assert after - before > seconds - EARLY_SECONDS, times


async def test_idle_connections_live_by_comments_and_heartbeats(
    connect: Connector, serve: Serve, proxied: Proxied, room: str
) -> None:
    # uvicorn pings by itself when it is run as recommended; granian never does.
    pinging = proxied(serve(APP, *RECOMMENDED["uvicorn"])).http_url
    silent = proxied(serve(APP, *RECOMMENDED["granian"], server="granian")).http_url
    streams = [await connect.sse(f"{url}/socket") for url in (pinging, silent)]
    pinged = await connect.websocket(f"{pinging}/socket")
    beaten = await connect.websocket(f"{silent}/socket")
    for client in (*streams, pinged, beaten):
        await client.join(room)
    # An endpoint without any of it, so that the others' lives mean something.
    unkept = [await connect.websocket(f"{silent}/quiet"), await connect.sse(f"{silent}/quiet")]

    silence = Silence()
    await silence.watch(*streams, pinged, beaten, *unkept)

    for stream in streams:
        comes_every(COMMENT_SECONDS, silence.comments[stream])
    comes_every(HEARTBEAT_SECONDS, silence.messages[beaten])
    assert {(each["action"], each["event"]) for each in beaten.unread} == {("SYSTEM", "PONG")}
    assert not pinged.unread
    assert silence.ends.keys() == set(unkept)
    assert all(abs(end - CUT_SECONDS) < 5 for end in silence.ends.values()), silence.ends
    for client in (*streams, pinged, beaten):
        assert (await client.call(room, "say", {"number": 1}))["event"] == "heard"
