"""The fast lane: when frames may be written past uvicorn's `send`, and what waits for the app."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from pondsocket_asgi._fastlane import deflate_protocol
from pondsocket_asgi.fastlane import DeflateProtocol, Protocol
from pondsocket_common import websocket_frame
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import Protocol as WebSocketProtocol

from tests.asgi.uvicorn_connection import (
    ALL,
    BINARY,
    CLOSE,
    DEFLATE,
    HIGH,
    PING,
    PONG,
    REQUEST,
    TEXT,
    Kind,
    UvicornConnection,
    bodies,
    masked,
    turns,
)

pytestmark = pytest.mark.usefixtures("each_lane")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: uvicorn knows no other."""
    return "asyncio"


async def silent(_connection: UvicornConnection) -> None:
    """Neither accept nor receive."""
    await asyncio.Event().wait()


async def idle(connection: UvicornConnection) -> None:
    """Accept, and do not receive."""
    await connection.send({"type": "websocket.accept"})
    await asyncio.Event().wait()


async def ended(connection: UvicornConnection) -> None:
    """End a connection, and the app with it."""
    connection.transport.close()
    await turns()
    for task in connection.tasks:
        task.cancel()
    await turns()


# --- the lane ---------------------------------------------------------------------------------


async def test_the_lane_opens_with_the_answer_and_its_frames_keep_their_place() -> None:
    connection = await UvicornConnection(silent).open()
    lane = connection.lane
    assert not lane.is_open
    await connection.send({"type": "websocket.accept"})
    assert lane.is_open
    await connection.send({"type": "websocket.send", "text": "one"})
    lane.write(websocket_frame(b"two") + websocket_frame(b"three"))
    await connection.send({"type": "websocket.send", "bytes": b"four"})
    lane.write(websocket_frame("fünf".encode()))
    assert bodies(connection.written) == [
        (TEXT, b"one"),
        (TEXT, b"two"),
        (TEXT, b"three"),
        (BINARY, b"four"),
        (TEXT, "fünf".encode()),
    ]
    await ended(connection)


async def test_uvicorns_own_class_has_no_lane() -> None:
    connection = await UvicornConnection(kind=WebSocketsSansIOProtocol).open()
    assert "pondsocket.fastlane" not in connection.scope["extensions"]
    await ended(connection)


async def test_the_lane_stays_closed_where_the_app_refuses() -> None:
    connection = await UvicornConnection(silent).open()
    await connection.send({"type": "websocket.close"})
    assert not connection.lane.is_open
    assert b"403" in connection.transport.written[0]
    await ended(connection)


async def test_a_request_that_is_none_has_no_lane_to_open() -> None:
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received((REQUEST % b"").replace(b"==", b""))
    await turns()
    assert connection.scope is None
    assert b"400" in connection.transport.written[0]


async def test_the_lane_is_closed_while_the_peer_is_behind() -> None:
    connection = await UvicornConnection(idle).open()
    lane, transport = connection.lane, connection.transport
    transport.takes_all = False
    frame = websocket_frame(bytes(HIGH // 4))
    count = 0
    while lane.is_open:
        lane.write(frame)
        count += 1
    assert count == 4
    sending = asyncio.ensure_future(connection.send({"type": "websocket.send", "text": "last"}))
    await turns()
    assert not sending.done()
    transport.drain()
    assert lane.is_open
    await sending
    assert bodies(connection.written)[-1] == (TEXT, b"last")
    await ended(connection)


async def test_the_lane_stays_closed_on_a_transport_that_was_full_before() -> None:
    # It has told the protocol of the request before that writing is paused, and not this one.
    connection = UvicornConnection(idle)
    connection.transport.unsent = HIGH + 1
    await connection.open()
    assert not connection.lane.is_open
    await connection.send({"type": "websocket.send", "text": "all the same"})
    assert bodies(connection.written) == [(TEXT, b"all the same")]
    await ended(connection)


async def test_the_lane_stays_closed_where_the_answer_itself_fills_the_transport() -> None:
    connection = await UvicornConnection(silent).open()
    transport = connection.transport
    transport.takes_all, transport.unsent = False, HIGH
    await connection.send({"type": "websocket.accept"})
    assert not connection.lane.is_open
    transport.drain()
    assert connection.lane.is_open
    await ended(connection)


async def app_closes(connection: UvicornConnection) -> None:
    await connection.send({"type": "websocket.close", "code": 1000})


async def peer_closes(connection: UvicornConnection) -> None:
    connection.feed(masked(CLOSE, b"\x03\xe8"))


async def peer_breaks_the_rules(connection: UvicornConnection) -> None:
    connection.feed(masked(TEXT | 0x10, b""))


async def peer_sends_no_text(connection: UvicornConnection) -> None:
    connection.feed(masked(TEXT, b"\xff"))


async def peer_answers_no_ping(connection: UvicornConnection) -> None:
    connection.miss_answer()


async def server_ends(connection: UvicornConnection) -> None:
    connection.protocol.shutdown()


async def connection_is_lost(connection: UvicornConnection) -> None:
    connection.transport.lose(ConnectionResetError())


async def app_ends(connection: UvicornConnection) -> None:
    (task,) = connection.tasks
    task.cancel()
    closed = connection.transport.closed
    await closed.wait()


ENDINGS = (
    app_closes,
    peer_closes,
    peer_breaks_the_rules,
    peer_sends_no_text,
    peer_answers_no_ping,
    server_ends,
    connection_is_lost,
    app_ends,
)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_lane_closes_in_the_very_step_of(ending: Any) -> None:
    connection = await UvicornConnection(idle).open()
    lane = connection.lane
    assert lane.is_open
    await ending(connection)
    assert not lane.is_open
    # A transport that drains after that opens nothing.
    connection.protocol.resume_writing()
    assert not lane.is_open
    if not connection.transport.is_closing() and ending is app_closes:
        connection.feed(masked(TEXT, b"too late"), masked(CLOSE, b"\x03\xe8"))
        assert connection.transport.is_closing()
    await turns()
    lane.write(b"to none")
    assert b"to none" not in connection.written
    await turns()


async def test_texts_are_compressed_where_that_was_agreed() -> None:
    connection = await UvicornConnection(idle, kind=DeflateProtocol).open(DEFLATE)
    await connection.send({"type": "websocket.send", "text": "a" * 500})
    connection.lane.write(websocket_frame(b"a" * 500))
    (first, body), plain = bodies(connection.written)
    assert first == TEXT | 0x40
    assert len(body) < 50
    assert plain == (TEXT, b"a" * 500)
    await ended(connection)


@pytest.mark.parametrize("kind", ALL)
async def test_pings_are_answered_and_sent(kind: Kind) -> None:
    connection = await UvicornConnection(kind=kind, ws_ping_interval=0.01, ws_ping_timeout=5).open()
    connection.feed(masked(PING, b"there?"))
    await connection.transport.wrote(3)
    (pong, (ping, body)) = bodies(connection.written)
    assert pong == (PONG, b"there?")
    assert ping == PING
    connection.feed(masked(PONG, body))
    await connection.transport.wrote(4)
    await ended(connection)


# --- what waits for the app -------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, 1_000, 20_000])
@pytest.mark.parametrize("headers", [b"", DEFLATE])
async def test_a_peer_that_is_faster_than_the_app_is_paused(size: int, headers: bytes) -> None:
    connection = await UvicornConnection(idle, ws_max_queue=32).open(headers)
    transport = connection.transport
    whole = masked(TEXT, b"x" * size)
    half = masked(TEXT & 0x7F, b"x" * (size // 2)) + masked(0x80, b"x" * (size - size // 2))
    sent = 0
    while not transport.is_paused:
        connection.feed((half, whole)[sent % 2])
        sent += 1
    assert sent == min(32, -(-256 * 1024 // max(1, size)))
    taken = 0
    while transport.is_paused:
        assert (await connection.receive())["text"] == "x" * size
        taken += 1
    assert 0.5 * sent < taken < 0.5 * sent + 2
    for _ in range(sent - taken):
        await connection.receive()
    assert transport.pauses == 1
    await ended(connection)


async def test_a_bound_of_one_message_pauses_and_resumes() -> None:
    connection = await UvicornConnection(idle, ws_max_queue=1).open()
    for text in (b"a", b"b", b"c"):
        connection.feed(masked(TEXT, text) + masked(TEXT, text))
        assert connection.transport.is_paused
        assert (await connection.receive())["text"] == text.decode()
        assert connection.transport.is_paused
        await connection.receive()
        assert not connection.transport.is_paused
    await ended(connection)


async def test_a_peer_whose_frames_all_go_through_uvicorn_is_paused_too() -> None:
    connection = UvicornConnection(idle, ws_max_queue=4)
    connection.protocol.connection_made(connection.transport)
    # What comes before the answer.
    connection.protocol.data_received(REQUEST % b"")
    connection.protocol.data_received(masked(PING, b""))
    await turns()
    for count in range(1, 7):
        assert connection.transport.is_paused == (count > 4)
        connection.feed(masked(TEXT, b"x"))
    assert connection.transport.pauses == 1
    for _ in range(5):
        assert connection.transport.is_paused
        await connection.receive()
    assert not connection.transport.is_paused
    await ended(connection)


async def test_an_app_that_closes_reads_on_for_the_peers_close() -> None:
    connection = await UvicornConnection(idle).open()
    connection.feed(masked(TEXT, b"x") * 40)
    assert connection.transport.is_paused
    await connection.send({"type": "websocket.close", "code": 4000})
    assert not connection.transport.is_paused
    connection.feed(masked(TEXT, b"x") * 40, masked(CLOSE, b"\x0f\xa0"))
    assert connection.transport.is_closing()
    await ended(connection)


async def test_the_end_comes_after_what_was_received() -> None:
    connection = await UvicornConnection(idle).open()
    connection.feed(masked(TEXT, b"a"), masked(TEXT, b"b") + masked(CLOSE, b"\x03\xe9"))
    received = [await connection.receive() for _ in range(3)]
    assert [message.get("text") for message in received] == ["a", "b", None]
    assert received[2] == {"type": "websocket.disconnect", "code": 1001, "reason": ""}
    await ended(connection)


async def test_several_may_wait_to_receive_and_one_of_them_may_give_up() -> None:
    connection = await UvicornConnection(idle).open()
    waiting = [asyncio.ensure_future(connection.receive()) for _ in range(4)]
    await turns()
    waiting[1].cancel()
    waiting[3].cancel()
    connection.feed(masked(TEXT, b"a") + masked(TEXT, b"b"))
    await turns()
    assert {waiting[0].result()["text"], waiting[2].result()["text"]} == {"a", "b"}
    given_up = asyncio.ensure_future(connection.receive())
    await turns()
    given_up.cancel()
    await turns()
    connection.feed(masked(TEXT, b"not lost"))
    assert (await connection.receive())["text"] == "not lost"
    last = asyncio.ensure_future(connection.receive())
    await turns()
    connection.feed(masked(TEXT, b"c"))
    last.cancel()  # woken already: what it was woken for must not be lost
    await turns()
    assert (await connection.receive())["text"] == "c"
    await ended(connection)


# --- the object itself ------------------------------------------------------------------------


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Have references alone decide what lives, and the log keep no traceback."""
    gc.collect()
    gc.disable()
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    gc.enable()


@pytest.mark.parametrize("ending", [*ENDINGS, None])
@pytest.mark.usefixtures("no_gc")
async def test_connections_are_freed_without_the_garbage_collector(ending: Any) -> None:
    connection = await UvicornConnection().open(DEFLATE)
    connection.feed(masked(TEXT, b"a"), masked(PING, b"b"), masked(TEXT, b"c"))
    await turns()
    if ending is not None:
        await ending(connection)
    await turns()
    connection.transport.close()
    await turns()
    lane = connection.lane
    alive: list[Any] = [weakref.ref(connection.protocol)]
    if (parsed := connection.parsed) is not None:
        alive.append(weakref.ref(parsed))
        if isinstance(parsed, DeflateProtocol):
            alive.append(weakref.ref(parsed.conn))
    del parsed
    # The app of this protocol is a method of the connection, which must not hold it in turn.
    connection.receive = connection.send = None
    del connection.protocol
    assert [each() for each in alive] == [None] * len(alive)
    assert not lane.is_open


def test_a_uvicorn_that_lacks_something_is_told_apart() -> None:
    class Other:
        def __init__(self) -> None:
            self.transport = None

    missing: Any = deflate_protocol._missing
    assert missing(WebSocketsSansIOProtocol, WebSocketProtocol) == []
    assert {"send_receive_event_to_app", "close_sent"} < set(missing(Other, WebSocketProtocol))
    assert "transport" not in missing(Other, WebSocketProtocol)
    assert missing(WebSocketsSansIOProtocol, Other) == [
        "debug",
        "extensions",
        "parser",
        "parser_exc",
        "state",
    ]


async def accepts(connection: UvicornConnection) -> None:
    await connection.send({"type": "websocket.accept"})


async def fails(_: UvicornConnection) -> None:
    raise ValueError("the app fails")


async def returns(_: UvicornConnection) -> None:
    pass


@pytest.mark.parametrize("answer", [accepts, fails, returns])
async def test_an_app_that_answers_when_the_server_has_ended_ends_nothing_else(
    answer: Any,
) -> None:
    # With TLS, a closing connection may last for half a minute.
    asked = asyncio.Event()

    async def app(connection: UvicornConnection) -> None:
        await asked.wait()
        await answer(connection)

    connection = await UvicornConnection(app).open()
    (task,) = connection.tasks
    connection.transport.unsent = 1
    connection.protocol.shutdown()
    assert connection.transport.is_closing()
    asked.set()
    await turns()
    assert task.done()
    assert task.exception() is None
    connection.transport.drain()
    await turns()
    assert connection.is_over
    assert b"".join(connection.transport.written).count(b"HTTP/1.1 ") == 1


async def test_a_close_over_tls_is_bounded_as_nothing_tells_what_is_unsent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = await UvicornConnection(kind=Protocol).open()
    own = connection.transport.get_extra_info
    monkeypatch.setattr(
        connection.transport,
        "get_extra_info",
        lambda name, default=None: object() if name == "ssl_object" else own(name, default),
    )
    connection.protocol.eof_received()
    limit = connection.parsed._limit
    assert limit is not None
    assert limit.when() - asyncio.get_running_loop().time() <= connection.parsed.close_timeout
    connection.transport.abort()
    await turns()
    assert connection.is_over
