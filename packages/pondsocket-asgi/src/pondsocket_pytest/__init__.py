"""The pytest plugin of PondSocket: fixtures for tests of an application.

    @pytest.fixture
    def pond_app():
        return create_app()

    async def test_hello(pond_client):
        async with pond_client.connect("/ws/socket?user=ann") as ann:
            room = await ann.join("/chat/1")
            assert await room.call("say", {"text": "hi"}) == {"id": 7}

pytest imports it at each start, for each project that has it installed: so it imports pytest
alone, and the kit when a test asks for a fixture. `-p no:pondsocket` switches it off.
"""

from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pondsocket.backplane.memory import MemoryHub
    from pondsocket.testing import FakeClock
    from pondsocket_asgi.testing import Faults, PondClient, SyncPondClient

__all__: list[str] = []


@pytest.fixture
def pond_app() -> Any:
    """Return the app under test: every project has its own.

    Raises:
        UsageError: The project has none yet; it says what to write.
    """
    raise pytest.UsageError(
        "The fixtures of PondSocket need the app under test. Write in conftest.py:\n\n"
        "    @pytest.fixture\n"
        "    def pond_app():\n"
        "        return create_app()  # an ASGI app, or a PondSocket"
    )


@pytest.fixture
def pond_transport() -> Literal["websocket", "sse"]:
    """Return what `connect` opens.

    Tests over both: `@pytest.mark.parametrize("pond_transport", ["websocket", "sse"])`.
    """
    return "websocket"


@pytest.fixture
def pond_client(
    pond_app: Any, pond_transport: Literal["websocket", "sse"]
) -> "Iterator[PondClient]":
    """Connect clients to `pond_app` in memory, in tests that are `async def`."""
    from pondsocket_asgi.testing import PondClient

    with PondClient(pond_app, transport=pond_transport) as client:
        yield client


@pytest.fixture
def pond_sync(
    pond_app: Any, pond_transport: Literal["websocket", "sse"]
) -> "Iterator[SyncPondClient]":
    """Connect clients to `pond_app` in memory, in tests that are plain functions."""
    from pondsocket_asgi.testing import SyncPondClient

    with SyncPondClient(pond_app, transport=pond_transport) as client:
        yield client


@pytest.fixture
def pond_clock(pond_app: Any) -> "Iterator[FakeClock]":
    """Let the pond of `pond_app` go by a clock that the test moves: `pond_clock.advance(301)`."""
    from pondsocket_asgi.testing import clock_of

    with clock_of(pond_app) as clock:
        yield clock


@pytest.fixture
def pond_faults() -> "Faults":
    """Return faults of the network: `async with pond_faults.lost(ann):`."""
    from pondsocket_asgi.testing import Faults

    return Faults()


@pytest.fixture
def pond_hub() -> "MemoryHub":
    """Return an engine in memory for ponds that are several nodes: `pond_hub.backplane()`."""
    from pondsocket.backplane.memory import MemoryHub

    return MemoryHub()
