"""The fast lane's bounds: small frames, and what is sent on after a close frame."""

import asyncio
from typing import Any

import pytest
from pondsocket_asgi._fastlane import bounded_protocol
from pondsocket_asgi._fastlane.bounded_protocol import TOO_MANY
from pondsocket_asgi._fastlane.small_frames import BURST, LARGE
from pondsocket_asgi.fastlane import DeflateProtocol
from pondsocket_common import CloseCode
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tests.asgi.uvicorn_connection import (
    CLOSE,
    CONT,
    DEFLATE,
    FIN,
    PING,
    PONG,
    REQUEST,
    TEXT,
    UvicornConnection,
    bodies,
    masked,
    turns,
)

# A clock that goes on lets a few more through.
MANY = 2 * BURST
BIT_BY_BIT = masked(TEXT & ~FIN, b"a") + masked(CONT & ~FIN, b"b") * MANY
NOTHING_FOR_EVER = masked(TEXT & ~FIN, b"") + masked(CONT & ~FIN, b"") * MANY
FLOODS = pytest.mark.parametrize(
    "flood",
    [masked(PING, b"?") * MANY, masked(PONG, b"") * MANY, BIT_BY_BIT, NOTHING_FOR_EVER],
    ids=["pings", "pongs", "1-byte fragments", "empty fragments"],
)

pytestmark = pytest.mark.usefixtures("each_lane")


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


async def ended(connection: UvicornConnection) -> None:
    """End a connection, and the app with it."""
    connection.transport.close()
    await turns()
    for task in connection.tasks:
        task.cancel()
    await turns()


def closes(connection: UvicornConnection) -> list[tuple[int, bytes]]:
    """The codes and reasons of the close frames that were written."""
    return [
        (int.from_bytes(body[:2]), body[2:])
        for opcode, body in bodies(connection.written)
        if opcode == CLOSE
    ]


class Asked:
    """The session of an app, as far as it is asked to close."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    def close(self, code: CloseCode, reason: str) -> None:
        """Keep what it is asked."""
        assert code is CloseCode.RATE_LIMITED
        self._asked.append(reason)


def asked_by(connection: UvicornConnection) -> list[str]:
    """Be the app that closes by itself; the list has each reason for which it is asked to."""
    asked: list[str] = []
    connection.lane.session = Asked(asked)  # type: ignore[assignment]
    return asked


def uncertain(headers: bytes = b"") -> bytes:
    """A request with a frame behind it: then uvicorn's parser takes all that follows."""
    return REQUEST % headers + masked(PONG, b"")


@FLOODS
@pytest.mark.parametrize("headers", [b"", DEFLATE], ids=["plain", "deflate"])
async def test_too_many_small_frames_stop_the_reading_and_ask_the_app_to_close(
    flood: bytes, headers: bytes
) -> None:
    connection = await UvicornConnection().open(headers)
    asked = asked_by(connection)
    connection.feed(flood + masked(TEXT, b"not parsed"), masked(TEXT, b"not read"))
    await turns()
    assert asked == [TOO_MANY]
    assert connection.transport.is_paused
    assert connection.texts == []
    await connection.send({"type": "websocket.send", "text": "goodbye"})
    await connection.send({"type": "websocket.close", "code": 4429, "reason": "too many"})
    goodbye = [opcode for opcode, _ in bodies(connection.written) if opcode != PONG][-2]
    assert goodbye in (TEXT, TEXT | 0x40)  # the second one is compressed
    assert closes(connection) == [(4429, b"too many")]
    assert connection.transport.is_paused
    await ended(connection)


@FLOODS
async def test_an_app_that_closes_nothing_by_itself_is_told_that_the_peer_is_gone(
    flood: bytes,
) -> None:
    connection = await UvicornConnection().open()
    connection.feed(flood)
    await turns()
    assert closes(connection) == [(1008, TOO_MANY.encode())]
    assert connection.received[-1]["type"] == "websocket.disconnect"
    assert connection.received[-1]["code"] == 1008
    assert not connection.lane.is_open
    assert connection.transport.is_closing()
    await ended(connection)


@FLOODS
async def test_the_bound_holds_where_all_goes_through_uvicorns_parser(flood: bytes) -> None:
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(uncertain())
    await turns()
    connection.feed(flood, flood)
    await turns()
    assert closes(connection) == [(1008, TOO_MANY.encode())]
    await ended(connection)


async def test_of_one_long_read_no_more_than_a_slice_is_parsed_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(uncertain())
    await turns()
    parsed = 0
    parse = connection.parsed.conn.receive_data

    def watch(data: bytes) -> None:
        nonlocal parsed
        parsed += len(data)
        parse(data)

    monkeypatch.setattr(connection.parsed.conn, "receive_data", watch)
    ping = masked(PING, b"")
    connection.feed(ping * 40_000)
    assert parsed <= 1.5 * BURST * len(ping) + 8 * 1024
    await ended(connection)


async def test_a_flood_before_the_answer_ends_the_connection() -> None:
    async def undecided(_connection: UvicornConnection) -> None:
        await asyncio.Event().wait()

    connection = UvicornConnection(undecided)
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(uncertain())
    await turns()
    connection.feed(masked(PING, b"") * MANY)
    assert connection.transport.is_closing()
    await ended(connection)


async def test_a_client_that_pings_and_sends_fragments_now_and_then_is_served() -> None:
    connection = await UvicornConnection().open()
    asked = asked_by(connection)
    large = masked(TEXT & ~FIN, b"a" * LARGE) + masked(CONT & ~FIN, b"b" * LARGE) * 62
    message = large + masked(CONT, b"c")
    for _ in range(50):
        connection.feed(masked(PING, b"there?"), message, masked(PONG, b""))
        await turns()
    assert connection.texts == ["a" * LARGE + "b" * LARGE * 62 + "c"] * 50
    assert bodies(connection.written) == [(PONG, b"there?")] * 50
    assert asked == []
    await ended(connection)


async def test_whole_messages_are_not_counted() -> None:
    connection = await UvicornConnection(kind=DeflateProtocol, ws_max_queue=100_000).open(DEFLATE)
    connection.feed(masked(TEXT, b"x") * 2 * BURST)
    protocol: Any = connection.protocol
    protocol._is_certain = False  # from here on by uvicorn's parser
    protocol._settle()
    connection.feed(masked(TEXT, b"x") * 2 * BURST)
    await turns()
    assert len(connection.texts) == 4 * BURST
    await ended(connection)


async def test_reading_is_not_resumed_by_what_the_app_does_after_a_flood() -> None:
    connection = await UvicornConnection(_accepting, ws_max_queue=4).open()
    asked = asked_by(connection)
    connection.feed(masked(TEXT, b"x") * 4)
    assert connection.transport.is_paused
    connection.feed(masked(PING, b"") * MANY)
    assert asked == [TOO_MANY]
    for _ in range(4):
        assert (await connection.receive())["text"] == "x"
    assert connection.transport.is_paused
    await ended(connection)


async def _accepting(connection: UvicornConnection) -> None:
    await connection.send({"type": "websocket.accept"})
    await asyncio.Event().wait()


# --- after the close ----------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [masked(TEXT, b"on"), masked(PING, b"on")])
async def test_a_client_that_sends_on_after_our_close_frame_is_soon_not_read(
    frame: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "_CLOSE_SECONDS", 0.01)
    connection = await UvicornConnection(_accepting).open()
    await connection.send({"type": "websocket.close", "code": 4000})
    few = frame * 100
    connection.feed(few)
    assert not connection.transport.is_paused
    connection.feed(few * (64 * 1024 // len(few) + 1))
    assert connection.transport.is_paused
    await asyncio.wait_for(connection.transport.closed.wait(), 5)
    await ended(connection)


async def test_a_flood_whose_client_does_not_answer_the_close_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_protocol, "_CLOSE_SECONDS", 0.01)
    connection = await UvicornConnection(_accepting).open()
    asked_by(connection)
    connection.feed(masked(PING, b"") * MANY)
    assert not connection.transport.is_closing()
    await connection.send({"type": "websocket.close", "code": 4429})
    await asyncio.wait_for(connection.transport.closed.wait(), 5)
    await ended(connection)


async def test_a_lost_connection_forgets_its_session() -> None:
    connection = await UvicornConnection(_accepting).open()
    lane: Any = connection.lane
    asked_by(connection)
    connection.transport.close()
    await turns()
    assert lane.session is None
    await ended(connection)


async def test_uvicorns_own_class_has_no_such_bound() -> None:
    connection = await UvicornConnection(kind=WebSocketsSansIOProtocol).open()
    connection.feed(masked(PING, b"") * MANY)
    assert closes(connection) == []
    await ended(connection)
