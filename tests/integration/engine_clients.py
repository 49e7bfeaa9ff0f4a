"""Clients of `tests/integration/engine_app.py`, and what they often do."""

import json
from typing import Final

from tests.integration.clients import Client, Message, SSEClient, Transport, envelope
from tests.integration.connector import Connector

OTHER: Final[dict[Transport, Transport]] = {"websocket": "sse", "sse": "websocket"}
# What one POST may hold.
BATCH: Final = 64


class EngineClients:
    """Connects clients, and opens the latches at which handlers wait."""

    def __init__(self, connector: Connector, url: str) -> None:
        self.connector = connector
        self.url = url

    async def connect(
        self, transport: Transport, user: str | None = None, path: str = "/socket"
    ) -> Client:
        """Connect, and receive the greeting."""
        query = "" if user is None else f"?user={user}"
        client = await self.connector(transport, f"{self.url}{path}{query}")
        await client.receive_event("SYSTEM", "admitted")
        return client

    async def member(
        self,
        transport: Transport,
        user: str,
        room: str,
        params: Message | None = None,
        path: str = "/socket",
    ) -> Client:
        """Connect and join."""
        client = await self.connect(transport, user, path)
        answer = await client.join(room, params)
        assert answer["event"] == "ACKNOWLEDGE", answer
        return client

    async def open(self, latch: str) -> None:
        """Let the handlers go on that wait at a latch."""
        client = await self.connect("websocket")
        answer = await client.call("GATEWAY", "open_latch", {"latch": latch})
        assert answer["payload"] == {"result": True}
        await client.close()


async def send_all(client: Client, messages: list[Message]) -> list[int]:
    """Send messages as fast as the transport can; gives the statuses of the POSTs."""
    if not isinstance(client, SSEClient):
        for message in messages:
            await client.send_raw(json.dumps(message).encode())
        return []
    statuses = []
    for start in range(0, len(messages), BATCH):
        answer = await client.post_json(messages[start : start + BATCH])
        statuses.append(answer.status_code)
    return statuses


def events(room: str, event: str, payloads: list[Message]) -> list[Message]:
    """Messages of a client to a channel, one for each payload."""
    return [envelope("BROADCAST", room, event, payload) for payload in payloads]


def told(client: Client, action: str = "BROADCAST") -> list[Message]:
    """Return what has come and was not asked for, of one action."""
    return [message for message in client.unread if message["action"] == action]
