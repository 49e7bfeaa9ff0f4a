"""A target in memory: driven through `ASGITestDriver`, and looked at from within."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio
from pondsocket import Options
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession

from tests.fuzz.app import NO_RATES, Errors, Target
from tests.fuzz.good_clients import SHARED
from tests.fuzz.oracle import is_answer, well_formed

Session: TypeAlias = WebSocketSession | SSESession
WAIT_SECONDS = 5.0


class InMemoryTarget:
    """A fresh pond, its driver and, in its shared room, a well-behaved member."""

    def __init__(self, options: Options = NO_RATES) -> None:
        self.target = Target(options)
        self.driver = ASGITestDriver(self.target.app)
        self._syncs = 0
        self._tasks = 0
        self.listener: WebSocketSession

    async def open(self) -> None:
        """Connect the listener."""
        self._tasks = len(anyio.get_running_tasks())
        self.listener = await self.driver.connect_websocket("/socket")
        await self.listener.receive_json()
        await self.put(self.listener, _message("JOIN_CHANNEL", "join", "w0", {}))
        assert (await self.listener.receive_json())["event"] == "ACKNOWLEDGE"

    async def connect(self, transport: str) -> Session:
        """Connect another client."""
        session: Session
        if transport == "websocket":
            session = await self.driver.connect_websocket("/socket")
        else:
            session = await self.driver.connect_sse("/socket")
        assert (await session.receive_json())["event"] == "CONNECTION"
        return session

    async def put(self, session: Session, message: dict[str, Any]) -> None:
        """Send a message as a good client does."""
        await session.send_json(message)
        if isinstance(session, SSESession):
            assert session.posted[-1][0] == 204, session.posted[-1]

    async def answers(self, session: Session) -> list[dict[str, Any]]:
        """Return what came before the answer to a ping that is sent now, without news of others."""
        # Tasks that POSTs have started get their turn.
        await anyio.wait_all_tasks_blocked()
        self._syncs += 1
        sync = f"sync{self._syncs}"
        await self.put(session, {"action": "ping", "requestId": sync})
        came: list[dict[str, Any]] = []
        while True:
            frame = await session.receive_json(wait=WAIT_SECONDS)
            if frame["requestId"] == sync:
                return came
            if is_answer(frame):
                came.append(frame)

    async def heard(self) -> list[int]:
        """Return the numbers of what the listener heard, each frame looked at."""
        numbers: list[int] = []
        while self.listener.outbox:
            text = (await self.listener.receive_message())["text"]
            frame = well_formed(text)
            if frame["event"] == "said":
                numbers.append(frame["payload"]["n"])
        return numbers

    async def close(self) -> None:
        """Check that the listener is served as before, and that it leaves nothing behind."""
        await self.put(self.listener, _message("BROADCAST", "echo", "w1", {"ok": True}))
        echoed = await self.listener.receive_event_named(
            "echoed", wait=WAIT_SECONDS, attempts=1_000
        )
        assert echoed["payload"] == {"ok": True}
        await self.listener.disconnect()
        await anyio.wait_all_tasks_blocked()
        assert await self.target.endpoint.connection_count() == 0
        assert await self.target.lobby.list_channels() == []
        assert len(anyio.get_running_tasks()) == self._tasks


def _message(action: str, event: str, request_id: str, payload: object) -> dict[str, Any]:
    return {
        "action": action,
        "event": event,
        "channelName": SHARED,
        "requestId": request_id,
        "payload": payload,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Check that nothing of ours is logged at ERROR meanwhile."""
    errors = Errors()
    logger = logging.getLogger("pondsocket")
    logger.addHandler(errors)
    try:
        yield
    finally:
        logger.removeHandler(errors)
    assert errors.said == []
