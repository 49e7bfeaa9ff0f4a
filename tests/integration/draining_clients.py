"""Clients of a server that is about to be replaced, and what they must have been told."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.integration.clients import Client, Message, SSEClient, WebSocketClient, until
from tests.integration.connector import Connector, Refused
from tests.servers import Server


def exit_seconds() -> float:
    """Within how many seconds after its last connection a server is to be gone: 1.

    Where others keep the machine busy, an interpreter alone may take that long to end.
    """
    return 1.0 if os.getloadavg()[0] < (os.cpu_count() or 1) / 2 else 3.0


@dataclass
class Departure:
    """How one client's connection was closed; times are seconds since the signal."""

    client: Client
    goodbye: Message
    told_at: float
    closed_at: float


class Crowd:
    """Clients of one server, as many over WebSocket as over event streams."""

    def __init__(self, server: Server, clients: list[Client]) -> None:
        self.server = server
        self.clients = clients
        self._signalled_at = 0.0

    @classmethod
    async def gather(
        cls, connect: Connector, server: Server, path: str = "/socket", each: int = 4
    ) -> "Crowd":
        """Connect them all, once all workers are there."""

        async def have_started() -> bool:
            # granian loses a signal that comes to a worker while it starts, and waits for it.
            log = server.log()
            return log.count("Started worker-") >= log.count("Spawning worker-")

        url = f"{server.http_url}{path}"
        clients: list[Client] = []
        for _ in range(each):
            clients += await asyncio.gather(connect.websocket(url), connect.sse(url))
        await until(have_started, "all workers have started")
        return cls(server, clients)

    async def linger(self, seconds: float) -> None:
        """Have a handler run for so long, so that the drain does not end before."""
        # Over WebSocket: a POST may come to another worker than that of its stream.
        await self.clients[0].join("/room/1")
        await self.clients[0].call("/room/1", "linger", {"seconds": seconds})

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send the server a signal."""
        self._signalled_at = time.monotonic()
        if group:
            self.server.group_signal(number)
        else:
            self.server.signal(number)

    async def depart(self) -> list[Departure]:
        """Wait until all have been told to go and are closed."""
        return list(await asyncio.gather(*[self._departure(client) for client in self.clients]))

    async def _departure(self, client: Client) -> Departure:
        goodbye = await client.receive_event("SYSTEM", "GOODBYE")
        told_at = time.monotonic() - self._signalled_at
        await client.wait_closed()
        return Departure(client, goodbye["payload"], told_at, time.monotonic() - self._signalled_at)

    async def exit(self, seconds: float | None = None) -> None:
        """Wait until the process is gone."""
        await asyncio.to_thread(self.server.wait_exit, seconds or exit_seconds())


def check(departures: Sequence[Departure]) -> None:
    """Check that each was told once and in time, and closed with a code that says to come back."""
    window_ms = len(departures) * 10
    for departure in departures:
        goodbye, client = departure.goodbye, departure.client
        assert (goodbye["code"], goodbye["reconnect"]) == (1012, True)
        assert 0 <= goodbye["afterMs"] <= window_ms + 1
        assert not [each for each in client.unread if each["event"] == "GOODBYE"]
        if isinstance(client, WebSocketClient):
            assert client.close_code == 1012
        else:
            assert isinstance(client, SSEClient)
            assert not client.is_torn
            assert client.retry_ms is not None
            # Behind the window and what handlers may take after it (5 s), and spread over 3 s.
            assert 6_000 <= client.retry_ms <= 9_000 + window_ms + 1


async def refusals(connect: Connector, url: str) -> list[Refused]:
    """Return how new clients are refused, over either transport."""
    found = []
    for transport in (connect.websocket, connect.sse):
        try:
            await transport(url)
        except Refused as refusal:
            found.append(refusal)
    return found
