"""Peers that are gone or frozen while a little of what they were sent still stands here.

A transport that is closed waits until its peer has taken everything. A peer that does not read
must all the same be gone in time: from the roster, and from the process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import pytest
from anyio.abc import TaskGroup
from pondsocket_asgi.testing import virtual_backend

from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    connection_loops,
    count_hurries,
    turns,
)
from tests.asgi.uvicorn_connection import (
    CLOSE,
    REQUEST,
    TEXT,
    UvicornConnection,
    bodies,
    masked,
)
from tests.asgi.uvicorn_connection import turns as asyncio_turns

ROOM_FOR: Final = 10.0  # seconds that uvicorn gives to a closing handshake
GONE: Final = masked(CLOSE, (1001).to_bytes(2))

anyio_backend = connection_loops
kinds = pytest.mark.parametrize("kind", KINDS)


def lanes(test: Any) -> Any:
    """Run a test with each class of the fast lane, on asyncio."""
    backends = [virtual_backend("asyncio")]
    by_backend = pytest.mark.parametrize("anyio_backend", backends, ids=["lane"])
    return pytest.mark.usefixtures("each_lane")(by_backend(test))


# --- the fast lane: how a close begins while the peer does not read -----------------------------


class Session:
    """The session of an app that closes nothing."""

    def close(self, code: int, reason: str) -> None: ...


async def accepting(connection: UvicornConnection) -> None:
    """Accept, and take no message."""
    await connection.send({"type": "websocket.accept"})
    await asyncio.Event().wait()


async def ending(connection: UvicornConnection) -> None:
    """Accept, and end as the first message comes."""
    await connection.send({"type": "websocket.accept"})
    await connection.receive()


async def unanswered_ping(connection: UvicornConnection) -> None:
    await asyncio.sleep(1)
    connection.miss_answer()
    await asyncio_turns(2)


async def close_of_the_peer(connection: UvicornConnection) -> None:
    connection.feed(GONE)
    await asyncio.sleep(ROOM_FOR)


async def half_a_frame_and_an_end_of_file(connection: UvicornConnection) -> None:
    connection.feed(masked(TEXT, b"x" * 1_000)[:500])
    connection.transport.end_of_file()
    await asyncio.sleep(ROOM_FOR)


async def violation_of_the_protocol(connection: UvicornConnection) -> None:
    connection.feed(b"\xff\xff\xff\xff")
    await asyncio.sleep(ROOM_FOR)


async def close_of_the_app(connection: UvicornConnection) -> None:
    await connection.send({"type": "websocket.close", "code": 4403})
    await asyncio.sleep(ROOM_FOR)


async def close_of_the_app_that_is_answered(connection: UvicornConnection) -> None:
    await connection.send({"type": "websocket.close", "code": 4403})
    connection.feed(masked(CLOSE, (4403).to_bytes(2)))
    await asyncio.sleep(ROOM_FOR)


async def end_of_the_server(connection: UvicornConnection) -> None:
    connection.protocol.shutdown()
    await asyncio.sleep(ROOM_FOR)


async def end_of_the_app(connection: UvicornConnection) -> None:
    connection.feed(masked(TEXT, b"end"))
    await asyncio.sleep(ROOM_FOR)


Begin = Callable[[UvicornConnection], Awaitable[None]]
BEGINNINGS: Final[tuple[Begin, ...]] = (
    unanswered_ping,
    close_of_the_peer,
    half_a_frame_and_an_end_of_file,
    violation_of_the_protocol,
    close_of_the_app,
    close_of_the_app_that_is_answered,
    end_of_the_server,
    end_of_the_app,
)
beginnings = pytest.mark.parametrize("begin", BEGINNINGS, ids=lambda each: each.__name__)


async def frozen(app: Callable[[UvicornConnection], Any]) -> UvicornConnection:
    """Connect a peer that has left a little of what it was sent in the transport."""
    connection = await UvicornConnection(app).open()
    connection.transport.takes_all = False
    connection.lane.write(b"a little")
    assert connection.transport.unsent
    return connection


async def stopped(connection: UvicornConnection) -> None:
    """End the app, which must find that its peer is gone."""
    assert connection.is_over
    for task in connection.tasks:
        task.cancel()
    await asyncio_turns()


@lanes
@beginnings
async def test_a_close_ends_within_ten_seconds_though_the_peer_does_not_read(begin: Begin) -> None:
    connection = await frozen(ending if begin is end_of_the_app else accepting)
    await begin(connection)
    await asyncio_turns(3)
    assert connection.transport.is_aborted
    await stopped(connection)


@lanes
@beginnings
async def test_a_peer_that_reads_again_in_time_gets_everything(begin: Begin) -> None:
    connection = await frozen(ending if begin is end_of_the_app else accepting)
    closing = asyncio.ensure_future(begin(connection))
    await asyncio_turns()
    connection.transport.drain()
    await closing
    await asyncio_turns(3)
    # Of a peer that does not answer pings nothing is expected any more.
    assert connection.transport.is_aborted is (begin is unanswered_ping)
    await stopped(connection)


@lanes
async def test_an_app_is_told_at_once_that_a_ping_was_not_answered() -> None:
    connection = await frozen(UvicornConnection.listen)
    connection.miss_answer()
    await asyncio_turns()
    assert [message["type"] for message in connection.received] == ["websocket.disconnect"]
    await stopped(connection)


@lanes
async def test_a_close_frame_for_an_unanswered_ping_is_written_where_there_is_room() -> None:
    connection = await UvicornConnection(UvicornConnection.listen).open()
    connection.miss_answer()
    await asyncio_turns()
    assert [opcode for opcode, _ in bodies(connection.written)] == [CLOSE]
    assert not connection.transport.is_aborted
    await stopped(connection)


@lanes
async def test_a_refused_handshake_behind_an_unread_response_ends_too() -> None:
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.transport.takes_all = False
    connection.protocol.data_received(REQUEST.replace(b"13", b"12") % b"")
    assert connection.transport.unsent
    await asyncio.sleep(ROOM_FOR)
    await asyncio_turns(3)
    assert connection.transport.is_aborted
    assert connection.is_over


@lanes
@pytest.mark.parametrize("flood", [32, 100, 400], ids=str)
async def test_after_its_close_frame_the_lane_reads_on_though_the_app_takes_nothing(
    flood: int,
) -> None:
    connection = await UvicornConnection(accepting).open()
    connection.lane.session = Session()  # type: ignore[assignment]
    connection.feed(masked(TEXT, b"flood" * 20) * flood)
    assert connection.transport.is_paused
    await connection.send({"type": "websocket.close", "code": 4429})
    assert not connection.transport.is_paused
    connection.feed(masked(TEXT, b"flood" * 20) * flood)
    assert not connection.transport.is_paused
    connection.feed(masked(CLOSE, (4429).to_bytes(2)))
    await asyncio_turns(3)
    assert not connection.transport.is_aborted
    await stopped(connection)


@lanes
async def test_after_its_close_frame_the_lane_sees_an_end_of_file() -> None:
    connection = await UvicornConnection(accepting).open()
    connection.feed(masked(TEXT, b"flood") * 400)
    await connection.send({"type": "websocket.close", "code": 4429})
    connection.feed(masked(TEXT, b"last bytes") * 100)
    assert not connection.transport.is_paused
    connection.transport.end_of_file()
    await asyncio_turns(3)
    await stopped(connection)


# --- every server whose transport is found ------------------------------------------------------


class Transport:
    """The part of a server's transport that the adapter looks for."""

    def __init__(self, connection: ASGIConnection) -> None:
        self._connection = connection
        self.unsent = 0
        self.closing = False
        self.asked: list[str] = []

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> None:
        self.asked.append(name)

    def abort(self) -> None:
        """Tell the app, as a server does when a connection is lost."""
        self.asked.append("abort")
        self._connection.leave()


async def joined(
    tasks: TaskGroup, kind: Kind, *, http_version: str = "1.1"
) -> tuple[ASGIConnection, Transport]:
    connection = ASGIConnection(PondSetup(), kind, http_version=http_version)
    connection.transport = transport = Transport(connection)
    tasks.start_soon(connection.run)
    await turns()
    await connection.join()
    return connection, transport


@kinds
async def test_a_connection_that_its_server_has_closed_in_vain_is_cut_off(kind: Kind) -> None:
    async with anyio.create_task_group() as tasks:
        ann, transport = await joined(tasks, kind)
        await anyio.sleep(20)
        assert transport.asked == []
        transport.closing = True
        with anyio.fail_after(2.5):
            await ann.ended.wait()
    assert transport.asked == ["socket", "abort"]
    assert await ann.setup.users() == 0


@kinds
async def test_a_connection_that_its_server_is_just_closing_is_left_to_it(kind: Kind) -> None:
    async with anyio.create_task_group() as tasks:
        ann, transport = await joined(tasks, kind)
        transport.closing = True
        ann.leave()
        await ann.ended.wait()
    assert transport.asked == []


@kinds
@pytest.mark.parametrize("unsent", [0, 1])
async def test_a_peer_that_is_closed_in_order_is_hurried_if_it_is_behind(
    kind: Kind, unsent: int
) -> None:
    async with anyio.create_task_group() as tasks:
        ann, transport = await joined(tasks, kind)
        transport.unsent = unsent
        await ann.setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
    assert transport.asked == ["socket"] * unsent
    assert ann.is_closed


@kinds
async def test_a_peer_that_leaves_with_something_unread_is_hurried(kind: Kind) -> None:
    async with anyio.create_task_group() as tasks:
        ann, transport = await joined(tasks, kind)
        transport.unsent = 1
        ann.leave()
        await ann.ended.wait()
    assert transport.asked == ["socket"]


@kinds
async def test_a_socket_that_others_share_is_not_hurried_at_the_end(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurries = count_hurries(monkeypatch)
    async with anyio.create_task_group() as tasks:
        ann, transport = await joined(tasks, kind, http_version="2")
        transport.unsent = 1
        await ann.setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
    assert transport.asked == hurries == []
