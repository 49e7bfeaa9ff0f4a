"""One client's connection: what has come, and waiting for what is to come."""

from collections import deque
from collections.abc import Callable
from typing import Final

from pondsocket_common import (
    ClientMessage,
    Connected,
    Goodbye,
    ServerActions,
    ServerMessage,
)

from pondsocket_asgi.testing._session import Session

from .matching import listed, shown
from .ponds import Ponds

# How many messages an error tells of.
_TOLD: Final = 20
_ANSWERS: Final = (ServerActions.SYSTEM, ServerActions.ERROR)


class Link:
    """One client's connection, and what it has heard.

    Args:
        wait: How many seconds each wait may last.

    Attributes:
        unread: What the test has not asked for, oldest first.
        listeners: Called with each message.
    """

    def __init__(self, session: Session, ponds: Ponds, wait: float) -> None:
        self.session = session
        self.ponds = ponds
        self.wait = wait
        self.unread: list[ServerMessage] = []
        self.listeners: list[Callable[[ServerMessage], None]] = []
        self.greeting: Connected | None = None
        self.goodbye: Goodbye | None = None
        self._heard: deque[str] = deque(maxlen=_TOLD)

    def take(self) -> None:
        """Take what has come."""
        for message in self.session.take_messages():
            self._heard.append(shown(message))
            if isinstance(message.payload, Connected):
                self.greeting = message.payload
            elif isinstance(message.payload, Goodbye):
                self.goodbye = message.payload
            for listener in self.listeners:
                listener(message)
            self.unread.append(message)

    async def until(
        self, ready: Callable[[], object], what: str, wait: float | None = None
    ) -> None:
        """Wait until `ready()` holds, which is asked after each message.

        Raises:
            AssertionError: It does not in time, or the connection is closed; it says what came.
            BaseException: What a handler has raised meanwhile, unless the test expects that.
        """
        seconds = self.wait if wait is None else wait
        holds: object = False

        def look() -> bool:
            nonlocal holds
            self.take()
            holds = ready()
            return bool(holds) or self.ponds.has_failed or self.session.closed

        try:
            await self.session.wait_until(look, what, wait=seconds)
        except TimeoutError:
            self.ponds.raise_failure()
            raise AssertionError(f"No {what} within {seconds:g} s; {self.what_came()}") from None
        self.ponds.raise_failure()
        if not holds:
            raise AssertionError(f"No {what}: the connection is closed; {self.what_came()}")

    async def find(
        self, fits: Callable[[ServerMessage], object], what: str, wait: float | None = None
    ) -> ServerMessage:
        """Wait for a message that fits, and take it; those before it stay."""
        found: list[ServerMessage] = []

        def ready() -> bool:
            found[:] = [message for message in self.unread if fits(message)][:1]
            return bool(found)

        await self.until(ready, what, wait)
        self.unread.remove(found[0])
        return found[0]

    async def send(self, message: ClientMessage) -> None:
        """Send a message of the protocol."""
        await self.session.send_message(message)

    async def ask(self, message: ClientMessage, wait: float | None = None) -> ServerMessage:
        """Send a request, and wait for its answer."""
        await self.send(message)

        def answers(each: ServerMessage) -> bool:
            return each.request_id == message.request_id and each.action in _ANSWERS

        return await self.find(answers, f"answer to {message.event!r}", wait)

    async def nothing_left(self, wait: float | None = None) -> None:
        """Wait until all that clients have sent is handled, and take what came of it."""
        await self.ponds.settle(self.wait if wait is None else wait)
        self.take()
        self.ponds.raise_failure()

    def what_came(self) -> str:
        """Describe what has come, oldest first."""
        return f"what came: {listed(self._heard)}"
