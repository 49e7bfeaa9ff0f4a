"""Whatever a peer does not read is bounded, also what the app has not sent itself."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from pondsocket.adapter import Frame

from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    connection_loops,
    count_resets,
    members,
    turns,
)

anyio_backend = connection_loops
OUTBOX = 20_000


@pytest.fixture(autouse=True)
def resets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return count_resets(monkeypatch)


class Transport:
    """A server's transport, as far as the adapter looks at it.

    Attributes:
        unsent: How many bytes its peer has not taken.
    """

    def __init__(self, connection: ASGIConnection, unsent: int = 0) -> None:
        self.unsent = unsent
        self.is_paused = False
        self._connection = connection

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_paused = True

    def get_extra_info(self, name: str) -> None:
        return None

    def abort(self) -> None:
        self._connection.fail()


# --- what waits in the outbox -----------------------------------------------------------------


async def broadcasts(setup: PondSetup, ann: ASGIConnection) -> None:
    await setup.tell(*range(100), size=1_000)


async def short_broadcasts(setup: PondSetup, ann: ASGIConnection) -> None:
    await setup.tell(*range(100))


async def refusals(setup: PondSetup, ann: ASGIConnection) -> None:
    (session,) = setup.endpoint.sessions
    for _ in range(100):
        session.post(b'{"action": "BROADCAST", "channelName": "/no"}')


async def pongs(setup: PondSetup, ann: ASGIConnection) -> None:
    (session,) = setup.endpoint.sessions
    for _ in range(100):
        session.post(b'{"action": "ping", "requestId": "1"}')


FLOODS: list[Callable[[PondSetup, ASGIConnection], Awaitable[None]]] = [
    broadcasts,
    short_broadcasts,
    refusals,
    pongs,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_what_waits_for_a_stalled_peer_is_bounded(
    kind: Kind, flood: Callable[[PondSetup, ASGIConnection], Awaitable[None]]
) -> None:
    setup = PondSetup(outbox_bytes=OUTBOX, max_refusals=None)
    async with members(setup, kind, "ann") as (ann,):
        await turns()
        (session,) = setup.endpoint.sessions
        outlet: Any = session._ending.outlet
        ann.stall()
        await setup.tell(0)
        await turns()
        await flood(setup, ann)
        await turns()
        assert not session.is_open
        queue = outlet._writer._queue
        assert queue.bytes <= 2 * OUTBOX


@pytest.mark.parametrize("kind", KINDS)
async def test_no_heartbeat_is_queued_behind_a_write_that_hangs(kind: Kind) -> None:
    setup = PondSetup(write_timeout=1_000, heartbeat_seconds=5, sse_keepalive_seconds=5)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(1)
        await anyio.sleep(900)
        (session,) = setup.endpoint.sessions
        assert session._ending.outlet is not None
        assert session._ending.outlet.pending <= 1


# --- what the server answers by itself --------------------------------------------------------


async def test_a_peer_that_reads_no_answers_to_its_pings_is_a_slow_consumer() -> None:
    setup = PondSetup(outbox_bytes=OUTBOX)
    async with members(setup, "websocket", "ann", make_transport=Transport) as (ann,):
        transport = ann.transport
        assert isinstance(transport, Transport)
        await anyio.sleep(2.5)
        for _ in range(3):
            transport.unsent += OUTBOX // 2
            await anyio.sleep(1)
            assert transport.is_paused == (not await setup.users())
        assert transport.is_paused
        assert await setup.users() == 0


async def test_a_large_write_of_ours_may_take_its_time() -> None:
    setup = PondSetup(outbox_bytes=OUTBOX)
    async with members(setup, "websocket", "ann", make_transport=Transport) as (ann,):
        transport = ann.transport
        assert isinstance(transport, Transport)
        await anyio.sleep(2.5)
        await setup.tell(1)
        await turns()
        transport.unsent = 50 * OUTBOX
        for _ in range(20):
            await anyio.sleep(1)
            transport.unsent -= OUTBOX
        # A few pings meanwhile.
        transport.unsent += OUTBOX // 2
        await anyio.sleep(2)
        assert await setup.users() == 1
        assert not transport.is_paused
        assert ann.numbers() == [1]


async def test_a_transport_that_does_not_tell_is_left_alone() -> None:
    setup = PondSetup(outbox_bytes=OUTBOX)
    async with members(setup, "websocket", "ann") as (ann,):
        ann.transport = object()
        await anyio.sleep(3)
        assert await setup.users() == 1


def test_a_frame_weighs_more_than_nothing() -> None:
    frame = Frame.broadcast("/room/1", "tick", "1", b"{}", None)
    assert frame.weigh() > 500
