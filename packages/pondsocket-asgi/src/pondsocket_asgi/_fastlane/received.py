"""Messages that the fast lane has received and the app has not."""

from collections import deque
from typing import TYPE_CHECKING

from uvicorn._types import ASGIReceiveEvent

if TYPE_CHECKING:
    import asyncio


class Received:
    """The messages that wait for the app, and the future of a `receive` that waits for one."""

    __slots__ = ("held", "messages", "waiter")

    def __init__(self) -> None:
        self.messages: deque[tuple[ASGIReceiveEvent, int]] = deque()
        self.held = 0
        self.waiter: asyncio.Future[None] | None = None

    def put(self, message: ASGIReceiveEvent, size: int) -> None:
        """Queue a message."""
        self.messages.append((message, size))
        self.held += size
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def put_nowait(self, message: ASGIReceiveEvent) -> None:
        """Queue a message from the base class, which expects an asyncio.Queue."""
        size = 0
        if message["type"] == "websocket.receive":
            size = len(message.get("text") or message.get("bytes") or "")
        self.put(message, size)
