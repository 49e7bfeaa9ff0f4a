"""Clients in memory for tests of ASGI apps, on asyncio and trio.

    async with PondClient(app).connect("/socket?user=ann") as ann:
        room = await ann.join("/chat/1")
        assert await room.call("say", {"text": "hi"}) == {"ok": True}
        await room.assert_broadcast("said", {"text": "hi"})

The pytest plugin has it as the fixture `pond_client`. Below it is a driver that hides nothing:

    driver = ASGITestDriver(PondASGIApp(pond))
    session = await driver.connect_websocket("/socket")
    assert (await session.receive_json())["event"] == "CONNECTION"
    await session.disconnect()

Neither receives a message by itself. What the app raises is raised in the test, at its next
receive or disconnect. Every wait has a limit; its error says what the app had sent instead.
"""

from pondsocket.testing import ConnectionRefused

from ._driver import ASGITestDriver, HTTPAnswer
from ._kit.client import PondClient
from ._kit.clock import clock_of
from ._kit.connected import ConnectedClient
from ._kit.errors import CallFailed, JoinRefused
from ._kit.faults import Faults
from ._kit.joined import JoinedChannel
from ._kit.sync import SyncConnectedClient, SyncJoinedChannel, SyncPondClient
from ._lifespan import LifespanSession
from ._sse import SSESession
from ._virtual_time import JumpingLoop, virtual_backend
from ._websocket import WebSocketSession

__all__ = [
    "ASGITestDriver",
    "CallFailed",
    "ConnectedClient",
    "ConnectionRefused",
    "Faults",
    "HTTPAnswer",
    "JoinRefused",
    "JoinedChannel",
    "JumpingLoop",
    "LifespanSession",
    "PondClient",
    "SSESession",
    "SyncConnectedClient",
    "SyncJoinedChannel",
    "SyncPondClient",
    "WebSocketSession",
    "clock_of",
    "virtual_backend",
]
