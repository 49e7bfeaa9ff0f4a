"""An in-memory client for tests of ASGI apps, on asyncio and trio.

    driver = ASGITestDriver(PondASGIApp(pond))
    session = await driver.connect_websocket("/socket")
    assert (await session.receive_json())["event"] == "CONNECTION"
    await session.disconnect()

The driver receives no message by itself. What the app raises is raised in the test, at its next
receive or disconnect. Every wait has a limit; its error says what the app had sent instead.
"""

from ._driver import ASGITestDriver, HTTPAnswer
from ._lifespan import LifespanSession
from ._sse import SSESession
from ._websocket import WebSocketSession

__all__ = ["ASGITestDriver", "HTTPAnswer", "LifespanSession", "SSESession", "WebSocketSession"]
