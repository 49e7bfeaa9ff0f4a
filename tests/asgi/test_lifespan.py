"""The pond's life by the server's lifespan, and without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pondsocket import JoinContext, LeaveContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

from tests.asgi.conftest import Pond, join


async def join_within_a_lifespan(pond: Pond) -> None:
    lifespan = await pond.driver.open_lifespan()
    assert await lifespan.startup() == {"type": "lifespan.startup.complete"}
    session = await pond.join_websocket()
    await session.disconnect()
    assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}


async def test_connections_work_within_a_lifespan(pond: Pond) -> None:
    await join_within_a_lifespan(pond)


async def test_shutdown_ends_the_connections_that_are_left(pond: Pond) -> None:
    lifespan = await pond.driver.open_lifespan()
    await lifespan.startup()
    socket = await pond.driver.connect_websocket("/socket")
    stream = await pond.driver.connect_sse("/socket")
    await join(socket)
    await lifespan.shutdown()
    assert (await socket.receive_event_named("GOODBYE"))["payload"]["code"] == 1001
    assert (await stream.receive_event_named("GOODBYE"))["payload"]["code"] == 1001
    with pytest.raises(ConnectionError):
        await socket.receive_json()
    with pytest.raises(ConnectionError):
        await stream.receive_json()
    assert (socket.close_code, stream.closed) == (1001, True)
    assert pond.left == ["connection_closed"]
    await socket.disconnect()
    await stream.disconnect()


async def test_a_second_lifespan_works_after_the_first(pond: Pond) -> None:
    for _ in range(2):
        await join_within_a_lifespan(pond)


async def test_connections_work_without_any_lifespan(pond: Pond) -> None:
    first = await pond.join_websocket()
    second = await pond.join_sse()
    await first.disconnect()
    await second.send_client_message(
        action="BROADCAST", channel_name="/chat/1", event="say", payload={"text": "alone"}
    )
    assert (await second.receive_event_named("said"))["payload"] == {"text": "alone"}
    await second.disconnect()
    assert await pond.is_empty()


class FailingPond(PondSocket):
    """A pond whose start or whose end fails."""

    def __init__(self, failing: str) -> None:
        super().__init__()
        self._failing = failing

    async def __aenter__(self) -> Any:
        if self._failing == "startup":
            raise OSError("no backplane")
        return await super().__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await super().__aexit__(*error)
        if self._failing == "shutdown":
            raise OSError("no backplane")


async def test_a_failing_startup_is_answered_as_one(caplog: pytest.LogCaptureFixture) -> None:
    driver = ASGITestDriver(PondASGIApp(FailingPond("startup")))
    lifespan = await driver.open_lifespan()
    with pytest.raises(RuntimeError, match="startup failed: OSError: no backplane"):
        await lifespan.startup()
    assert "startup failed" in caplog.text


async def test_a_failing_shutdown_is_answered_as_one(caplog: pytest.LogCaptureFixture) -> None:
    driver = ASGITestDriver(PondASGIApp(FailingPond("shutdown")))
    lifespan = await driver.open_lifespan()
    await lifespan.startup()
    with pytest.raises(RuntimeError, match="shutdown failed: OSError: no backplane"):
        await lifespan.shutdown()
    assert "shutdown failed" in caplog.text


class Opened:
    """A pond with a lifespan, and what has happened."""

    def __init__(self, failures: int = 0) -> None:
        self.log: list[str] = []
        self._failures = failures
        self.pond = PondSocket(lifespan=self._opened_and_closed)
        lobby = self.pond.create_endpoint("/socket").create_channel("/chat/:id", self._join)
        lobby.on_leave(self._leave)
        self.driver = ASGITestDriver(PondASGIApp(self.pond))

    @asynccontextmanager
    async def _opened_and_closed(self, pond: PondSocket) -> AsyncIterator[dict[str, str]]:
        if self._failures:
            self._failures -= 1
            raise OSError("no database")
        self.log.append("opened")
        yield {"db": "database"}
        self.log.append("closed")

    async def _join(self, ctx: JoinContext) -> dict[str, str]:
        return {"db": self.pond.state["db"]}

    async def _leave(self, ctx: LeaveContext) -> None:
        self.log.append(f"left with {self.pond.state['db']}")

    async def use(self) -> None:
        """Join over both transports; a stream and a socket stay open."""
        for session in (
            await self.driver.connect_websocket("/socket"),
            await self.driver.connect_sse("/socket"),
        ):
            await session.send_client_message(
                action="JOIN_CHANNEL", channel_name="/chat/1", event="join"
            )
            joined = await session.receive_event_named("ACKNOWLEDGE")
            assert joined["payload"]["response"] == {"db": "database"}


async def test_the_applications_lifespan_is_open_between_startup_and_shutdown() -> None:
    opened = Opened()
    lifespan = await opened.driver.open_lifespan()
    await lifespan.startup()
    assert opened.log == ["opened"]
    await opened.use()
    await lifespan.shutdown()
    assert opened.log == ["opened", *["left with database"] * 2, "closed"]


async def test_without_a_lifespan_the_first_client_opens_it() -> None:
    opened = Opened()
    await opened.use()
    assert opened.log == ["opened"]
    await opened.pond.close()
    assert opened.log == ["opened", *["left with database"] * 2, "closed"]


async def test_what_the_applications_lifespan_raises_is_the_startups() -> None:
    opened = Opened(failures=1)
    lifespan = await opened.driver.open_lifespan()
    with pytest.raises(RuntimeError, match="startup failed: OSError: no database"):
        await lifespan.startup()


async def test_where_it_fails_without_a_lifespan_clients_are_told_to_come_back() -> None:
    opened = Opened(failures=2)
    session = await opened.driver.connect_websocket("/socket")
    assert (session.accepted, session.close_code) == (False, 4503)
    status, body = await opened.driver.call_http(
        "/socket", headers=[(b"accept", b"text/event-stream")]
    )
    assert (status, b"The server is not ready." in body) == (503, True)
    await opened.use()
    await opened.pond.close()


@pytest.mark.parametrize("origin", ["https://chat.test", "https://evil.test"])
async def test_an_endpoint_without_a_handler_still_checks_the_origin(origin: str) -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket")
    headers = [(b"host", b"chat.test"), (b"origin", origin.encode())]
    driver = ASGITestDriver(PondASGIApp(pond))
    session = await driver.connect_websocket("/socket", headers=headers)
    assert session.accepted is (origin == "https://chat.test")
