"""The pond's life by the server's lifespan, and without one."""

from typing import Any

import pytest
from pondsocket import PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

from tests.asgi.conftest import Pond, join


async def join_within_a_lifespan(pond: Pond) -> None:
    lifespan = await pond.driver.open_lifespan()
    await lifespan.startup()
    session = await pond.join_websocket()
    await session.disconnect()
    await lifespan.shutdown()


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
