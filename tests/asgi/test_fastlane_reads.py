"""The fast lane takes no more out of a read than the app has room for, and loses nothing of it."""

import asyncio
from typing import Any

import pytest
from pondsocket_asgi._fastlane.received import MOST_MESSAGES as MOST

from tests.asgi.uvicorn_connection import (
    CLOSE,
    CONT,
    DEFLATE,
    FIN,
    HIGH,
    PING,
    PONG,
    REQUEST,
    TEXT,
    UvicornConnection,
    bodies,
    masked,
    turns,
)

# About as many as one read of the socket may have.
MANY = 30_000
GOODBYE = masked(CLOSE, b"\x03\xe9")
PLAIN = masked(TEXT, b"a")
CUT = masked(TEXT & ~FIN, b"a" * 2_000) + masked(CONT, b"b")

pytestmark = pytest.mark.usefixtures("each_lane")


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


async def idle(connection: UvicornConnection) -> None:
    """Be an app that receives nothing by itself, and goes on for ever."""
    await connection.send({"type": "websocket.accept"})
    await asyncio.Event().wait()


async def opened(headers: bytes = b"") -> UvicornConnection:
    return await UvicornConnection(idle).open(headers)


async def ended(connection: UvicornConnection) -> None:
    """End a connection, and the app with it."""
    connection.transport.close()
    await turns()
    for task in connection.tasks:
        task.cancel()
    await turns()


def waiting(connection: UvicornConnection) -> int:
    protocol: Any = connection.protocol
    return len(protocol._received.messages)


async def received(connection: UvicornConnection) -> list[Any]:
    """Receive until the end, which comes last."""
    messages: list[Any] = []
    while not messages or messages[-1]["type"] == "websocket.receive":
        messages.append(await connection.receive())
    return messages


@pytest.mark.parametrize("headers", [b"", DEFLATE], ids=["plain", "deflate"])
@pytest.mark.parametrize("message", [PLAIN, CUT], ids=["whole", "in fragments"])
async def test_what_is_taken_out_of_a_read_is_bounded_and_comes_in_order(
    headers: bytes, message: bytes
) -> None:
    connection = await opened(headers)
    count = 5_000 if message is PLAIN else 100
    numbered = [masked(TEXT, b"%d" % number) for number in range(count)]
    connection.feed(message.join(numbered))
    most = 0
    texts: list[str] = []
    while len(texts) < 2 * count - 1:
        most = max(most, waiting(connection))
        texts.append((await connection.receive())["text"])
    assert most <= MOST
    assert texts[::2] == [str(number) for number in range(count)]
    assert not connection.transport.is_paused
    await ended(connection)


async def test_reading_goes_on_only_when_all_of_a_read_was_taken() -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY)
    assert waiting(connection) == MOST
    for _ in range(MANY - 32):
        assert connection.transport.is_paused
        await connection.receive()
        assert waiting(connection) <= MOST
    for _ in range(32):
        await connection.receive()
    assert not connection.transport.is_paused
    assert connection.transport.pauses == 1
    await ended(connection)


async def test_a_frame_may_be_cut_at_the_end_of_what_was_kept() -> None:
    connection = await opened()
    connection.feed(PLAIN * 5_000 + PLAIN[:4])
    for _ in range(5_000):
        await connection.receive()
    assert not connection.transport.is_paused
    connection.feed(PLAIN[4:] + GOODBYE)
    assert [message.get("text") for message in await received(connection)] == ["a", None]
    await ended(connection)


async def test_a_peer_that_says_goodbye_is_heard_to_the_end() -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY + GOODBYE)
    messages = await received(connection)
    assert len(messages) == MANY + 1
    assert messages[-1] == {"type": "websocket.disconnect", "code": 1001, "reason": ""}
    await ended(connection)


@pytest.mark.parametrize("tail", [b"", CUT], ids=["plain", "in fragments"])
async def test_what_was_read_of_a_peer_that_is_lost_is_received(tail: bytes) -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY + tail + masked(PING, b"?"))
    connection.transport.lose(ConnectionResetError())
    messages = await received(connection)
    assert len(messages) == MANY + 1 + bool(tail)
    assert messages[-1]["type"] == "websocket.disconnect"
    await ended(connection)


async def test_what_was_read_before_the_server_ended_is_received() -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY)
    connection.protocol.shutdown()
    messages = await received(connection)
    assert len(messages) == MANY + 1
    assert messages[-1]["code"] == 1012
    await ended(connection)


@pytest.mark.parametrize("before", [b"", CUT[:-7]], ids=["plain", "within a message"])
async def test_an_app_that_closes_hears_the_peers_close_in_what_was_kept(before: bytes) -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY + before + GOODBYE)
    await connection.send({"type": "websocket.close", "code": 4000})
    assert connection.transport.is_closing()
    await ended(connection)


async def test_an_app_that_closes_reads_on_for_the_peers_close() -> None:
    connection = await opened()
    connection.feed(PLAIN * MANY + PLAIN[:3])
    await connection.send({"type": "websocket.close", "code": 4000})
    assert not connection.transport.is_paused
    assert not connection.transport.is_closing()
    connection.feed(PLAIN[3:] + PLAIN * 40 + GOODBYE)
    assert connection.transport.is_closing()
    await ended(connection)


async def test_it_is_the_same_where_all_goes_through_uvicorns_parser() -> None:
    connection = UvicornConnection(idle)
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(REQUEST % b"" + masked(PONG, b""))
    await turns()
    connection.feed(PLAIN * 10_000 + GOODBYE)
    assert waiting(connection) <= 3 * MOST  # what 8 KiB may hold, beyond it
    assert len(await received(connection)) == 10_001
    await ended(connection)


# --- answers that the peer does not read ------------------------------------------------------


async def test_a_peer_that_reads_no_answers_is_read_no_further() -> None:
    connection = await opened()
    connection.transport.takes_all = False
    ping = masked(PING, b"p" * 125)
    sent = 0
    while not connection.transport.is_paused:
        connection.feed(ping)
        sent += 1
    assert HIGH < connection.transport.unsent < HIGH + 200
    assert sent < 1_000
    # It has read all of it: the next ping is answered.
    connection.transport.drain()
    assert not connection.transport.is_paused
    connection.transport.takes_all = True
    connection.feed(masked(PING, b"last"))
    assert bodies(connection.written)[-1] == (PONG, b"last")
    await ended(connection)


async def test_two_reasons_not_to_read_end_one_by_one() -> None:
    connection = await opened()
    transport = connection.transport
    transport.takes_all = False
    connection.feed(masked(PING, b"p" * 125) * 600 + PLAIN * 40)
    assert transport.is_paused
    for _ in range(40):
        await connection.receive()
    assert transport.is_paused
    transport.drain()
    assert not transport.is_paused

    connection.feed(masked(PING, b"p" * 125) * 600 + PLAIN * 40)
    transport.drain()
    assert transport.is_paused
    for _ in range(40):
        await connection.receive()
    assert not transport.is_paused
    await ended(connection)


async def test_a_peer_that_floods_stays_unread_when_it_reads_its_answers() -> None:
    connection = await opened()
    transport = connection.transport
    transport.takes_all = False
    connection.feed(masked(PING, b"p" * 125) * 6_000)
    assert transport.is_paused
    transport.drain()
    assert transport.is_paused
    await ended(connection)


async def test_answers_to_one_long_read_are_bounded() -> None:
    connection = await opened()
    connection.transport.takes_all = False
    connection.feed(masked(PING, b"") * 40_000)
    assert connection.transport.unsent < 256 * 1024
    await ended(connection)
