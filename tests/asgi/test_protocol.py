"""The fast lane's own class: what it does by itself, and when another takes over."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from pondsocket_asgi._fastlane.keepalive import Keepalive
from pondsocket_asgi._fastlane.received import MOST_MESSAGES
from pondsocket_asgi._process.servers import find_transport, find_uvicorn, ping_seconds
from pondsocket_asgi._sending.server_send import server_send
from pondsocket_asgi.fastlane import DeflateProtocol, Protocol
from pondsocket_asgi.testing import virtual_backend
from pondsocket_common import websocket_frame
from uvicorn.protocols.utils import ClientDisconnected

from tests.asgi.uvicorn_connection import (
    BINARY,
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

SECRET: Final = (REQUEST % b"").replace(b"/socket", b"/secret")
by_the_clock = pytest.mark.parametrize(
    "anyio_backend", [virtual_backend("asyncio")], ids=["virtual time"]
)


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


async def idle(connection: UvicornConnection) -> None:
    """Accept, and do not receive."""
    await connection.send({"type": "websocket.accept"})
    await asyncio.Event().wait()


async def silent(_connection: UvicornConnection) -> None:
    """Neither accept nor receive."""
    await asyncio.Event().wait()


@asynccontextmanager
async def opened(
    app: Any = UvicornConnection.listen, headers: bytes = b"", **options: Any
) -> AsyncIterator[UvicornConnection]:
    """Yield a connection of the class that does not compress; it has ended after the block."""
    connection = await UvicornConnection(app, kind=Protocol, **options).open(headers)
    try:
        yield connection
    finally:
        connection.transport.close()
        await turns()
        for task in connection.tasks:
            task.cancel()
        await turns()
        assert connection.is_over
        assert not connection.tasks


def writes(connection: UvicornConnection) -> list[bytes]:
    return connection.transport.written


# --- the handshake ----------------------------------------------------------------------------


async def test_the_answer_leaves_together_with_the_first_message() -> None:
    async def greet(connection: UvicornConnection) -> None:
        await connection.send({"type": "websocket.accept"})
        connection.lane.write(websocket_frame(b"one"))
        await connection.send({"type": "websocket.send", "text": "two"})
        await connection.receive()

    async with opened(greet) as connection:
        first, second = writes(connection)
        assert first.startswith(b"HTTP/1.1 101 ")
        assert first.endswith(b"\r\n\r\n" + websocket_frame(b"one"))
        assert second == websocket_frame(b"two")


async def test_the_answer_waits_for_no_message() -> None:
    async with opened(idle) as connection:
        (answer,) = writes(connection)
        assert answer.endswith(b"\r\n\r\n")


async def test_a_lane_that_was_kept_from_before_the_answer_left_still_writes() -> None:
    async with opened(silent) as connection:
        await connection.send({"type": "websocket.accept"})
        kept = connection.lane.write
        await turns()
        kept(websocket_frame(b"late"))
        assert bodies(connection.written) == [(TEXT, b"late")]


async def test_deflate_is_declined() -> None:
    async with opened(idle, DEFLATE) as connection:
        assert b"permessage" not in connection.transport.written[0]
        assert connection.parsed is None


@pytest.mark.parametrize("level", [logging.DEBUG, 5])
async def test_with_debug_logging_all_frames_take_uvicorns_way(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(level, "uvicorn.error"):
        async with opened() as connection:
            connection.feed(masked(TEXT, b"seen"))
            assert isinstance(connection.parsed, DeflateProtocol)
    assert "< TEXT" in caplog.text


@pytest.mark.parametrize("kind", [Protocol, DeflateProtocol])
async def test_an_accepted_connection_is_logged(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        connection = UvicornConnection(idle, kind=kind)
        connection.protocol.connection_made(connection.transport)
        connection.protocol.data_received((REQUEST % b"").replace(b"/socket", b"/a%20b"))
        await turns()
        connection.transport.close()
        await turns()
        for task in connection.tasks:
            task.cancel()
        await turns()
    lines = [each.message for each in caplog.records][:2]
    assert lines == ['127.0.0.1:81 - "WebSocket /a%20b" [accepted]', "connection open"]


async def test_a_transport_that_is_far_behind_is_left_to_another_class() -> None:
    for unsent, is_left in ((HIGH // 4, False), (HIGH // 4 + 1, True)):
        connection = UvicornConnection(silent, kind=Protocol)
        connection.transport.unsent = unsent
        await connection.open()
        assert isinstance(connection.parsed, DeflateProtocol) is is_left
        connection.transport.lose(ConnectionResetError())
        for task in connection.tasks:
            task.cancel()
        await turns()


async def test_addresses_and_scheme_are_those_that_the_http_protocol_knows() -> None:
    class HTTP:
        server, client, scheme = ("10.0.0.1", 443), ("10.0.0.2", 5), "https"

    connection = UvicornConnection(silent, kind=Protocol)
    connection.transport.get_protocol = HTTP  # type: ignore[method-assign]
    await connection.open()
    found = [connection.scope[name] for name in ("server", "client", "scheme")]
    assert found == [HTTP.server, HTTP.client, "wss"]
    for task in connection.tasks:
        task.cancel()
    await turns()


async def test_what_is_sent_before_the_answer_comes_after_it() -> None:
    async with opened(silent) as connection:
        connection.feed(masked(TEXT, b"early"), masked(PING, b"?")[:3])
        await turns()
        assert writes(connection) == []
        await connection.send({"type": "websocket.accept"})
        connection.feed(masked(PING, b"?")[3:])
        assert (await connection.receive())["text"] == "early"
        assert bodies(connection.written) == [(PONG, b"?")]


async def test_much_that_is_sent_before_the_answer_is_not_read_until_then() -> None:
    async with opened(silent) as connection:
        connection.feed(masked(BINARY, bytes(50_000)))
        assert not connection.transport.is_paused
        connection.feed(masked(BINARY, bytes(50_000))[:20_000])
        assert connection.transport.is_paused
        await connection.send({"type": "websocket.accept"})
        assert not connection.transport.is_paused
        connection.feed(masked(BINARY, bytes(50_000))[20_000:])
        assert [len((await connection.receive())["bytes"]) for _ in "12"] == [50_000, 50_000]


# --- refusals ---------------------------------------------------------------------------------


async def test_a_refusal_is_uvicorns_and_nothing_behind_it_is_a_request() -> None:
    paths: list[str] = []

    async def refuse(connection: UvicornConnection) -> None:
        paths.append(connection.scope["path"])
        connection.feed(SECRET)
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
        start = {"type": "websocket.http.response.start", "status": 401, "headers": headers}
        await connection.send(start)
        connection.feed(SECRET)
        await turns()
        await connection.send({"type": "websocket.http.response.body", "body": b"no"})
        connection.feed(SECRET)

    async with opened(refuse) as connection:
        await turns()
        answer = b"".join(writes(connection))
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert answer.endswith(b"\r\n\r\nno")
        assert answer.count(b"HTTP/1.1") == 1
        assert connection.transport.is_closing()
    assert paths == ["/socket"]


async def test_a_refusal_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(connection: UvicornConnection) -> None:
        start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
        await connection.send(start)
        await connection.send({"type": "websocket.http.response.body", "body": b""})

    with caplog.at_level(logging.INFO, "uvicorn.error"):
        async with opened(refuse):
            pass
    assert {each.levelname for each in caplog.records} == {"INFO"}
    assert '"WebSocket /socket" 403' in caplog.text


async def test_a_close_before_the_answer_is_403(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(connection: UvicornConnection) -> None:
        await connection.send({"type": "websocket.close", "code": 1008})

    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        async with opened(refuse) as connection:
            assert writes(connection)[0].startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert caplog.records == []


@pytest.mark.parametrize("raises", [True, False])
async def test_an_app_that_does_not_answer_is_500(
    raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_connection: UvicornConnection) -> None:
        if raises:
            raise ValueError("a fault")

    async with opened(fail) as connection:
        assert writes(connection)[0].startswith(b"HTTP/1.1 500 ")
    expected = "a fault" if raises else "without completing handshake"
    assert expected in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send", "text": "too early"},
        {"type": "websocket.http.response.body", "body": b""},
        {"type": "websocket.http.response.start", "status": 99, "headers": []},
    ],
    ids=lambda message: message["type"],
)
async def test_an_app_that_makes_a_mistake_may_still_accept(message: Any) -> None:
    async with opened(silent) as connection:
        with pytest.raises(RuntimeError):
            await connection.send(message)
        await connection.send({"type": "websocket.accept"})
        await turns()
        assert writes(connection)[0].startswith(b"HTTP/1.1 101 ")


async def test_a_client_that_is_gone_before_the_app_runs_is_told_to_it() -> None:
    received: list[Any] = []

    async def late(connection: UvicornConnection) -> None:
        received.append(await connection.receive())
        with pytest.raises(ClientDisconnected):
            await connection.send({"type": "websocket.accept"})

    connection = UvicornConnection(late, kind=Protocol)
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(REQUEST % b"")
    connection.transport.lose(ConnectionResetError())
    await turns()
    assert received == [{"type": "websocket.disconnect", "code": 1006}]
    assert connection.is_over
    assert not connection.tasks


# --- what needs no parser, and what does --------------------------------------------------------


async def test_texts_bytes_pings_and_short_frames_that_are_cut_need_no_parser() -> None:
    text, long = masked(TEXT, b"short"), masked(BINARY, bytes(60_000))
    stream = text + long + masked(PING, b"?") + text + masked(PONG, b"unasked") + long
    async with opened() as connection:
        for cut in (1, 7, 400, 30_000):
            connection.feed(*(stream[at : at + cut] for at in range(0, len(stream), cut)))
            await turns()
        assert len(connection.received) == 4 * 4
        assert bodies(connection.written) == [(PONG, b"?")] * 4
        assert connection.parsed is None


FOR_THE_PARSER: Final = {
    "a fragment": masked(TEXT & ~FIN, b"half"),
    "no UTF-8": masked(TEXT, b"\xff"),
    "a part of a long frame": masked(TEXT, bytes(70_000))[:20],
    "compressed": masked(TEXT | 0x40, b"x"),
    "a ping that is too long": masked(PING, bytes(126)),
    "more messages than there is room for": masked(TEXT, b"x") * (MOST_MESSAGES + 1),
}


@pytest.mark.parametrize("data", FOR_THE_PARSER.values(), ids=FOR_THE_PARSER)
async def test_anything_else_needs_one(data: bytes) -> None:
    async with opened() as connection:
        connection.feed(masked(TEXT, b"before"))
        assert connection.parsed is None
        connection.feed(data)
        assert isinstance(connection.parsed, DeflateProtocol)
        await turns()
        assert connection.texts[0] == "before"


async def test_after_a_fragmented_message_all_goes_on() -> None:
    async with opened() as connection:
        connection.feed(masked(TEXT & ~FIN, b"ha"), masked(PING, b"?"), masked(CONT, b"lf"))
        connection.feed(masked(TEXT, b"whole"))
        connection.lane.write(websocket_frame(b"by the lane"))
        await connection.send({"type": "websocket.send", "text": "by send"})
        await connection.send({"type": "websocket.send", "bytes": b"bytes"})
        await turns()
        assert connection.texts == ["half", "whole"]
        frames = [(PONG, b"?"), (TEXT, b"by the lane"), (TEXT, b"by send"), (BINARY, b"bytes")]
        assert bodies(connection.written) == frames


async def test_an_app_that_waits_when_another_class_takes_over_gets_what_comes() -> None:
    async with opened(idle) as connection:
        waiting = asyncio.ensure_future(connection.receive())
        await turns()
        connection.feed(masked(TEXT & ~FIN, b"ha") + masked(CONT, b"lf"))
        assert (await waiting)["text"] == "half"


async def test_the_bound_on_pings_counts_on_when_another_class_takes_over() -> None:
    async with opened() as connection:
        connection.feed(masked(PING, b"") * 2_400)
        assert connection.parsed is None
        connection.feed(masked(TEXT & ~FIN, b"a" * 2_000) + masked(PING, b"") * 200)
        closes = [body[:2] for first, body in bodies(connection.written) if first == CLOSE]
        assert closes == [b"\x03\xf0"]


# --- a peer that is behind, and the end ---------------------------------------------------------


async def test_send_waits_for_a_peer_that_is_behind_and_is_told_that_it_is_gone() -> None:
    async with opened(idle) as connection:
        connection.transport.takes_all = False
        connection.lane.write(websocket_frame(bytes(HIGH + 1)))
        sending = [
            asyncio.ensure_future(connection.send({"type": "websocket.send", "text": "late"}))
            for _ in "12"
        ]
        await turns()
        assert not any(each.done() for each in sending)
        connection.transport.lose(ConnectionResetError())
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ClientDisconnected] * 2


async def test_send_goes_on_by_the_class_that_took_over_meanwhile() -> None:
    async with opened(idle) as connection:
        connection.transport.takes_all = False
        connection.lane.write(websocket_frame(bytes(HIGH + 1)))
        sending = asyncio.ensure_future(connection.send({"type": "websocket.send", "text": "late"}))
        await turns()
        connection.feed(masked(TEXT & ~FIN, b"half"))
        assert not connection.parsed.writable.is_set()
        assert not connection.lane.is_open
        connection.transport.takes_all = True
        connection.transport.drain()
        await sending
        assert connection.lane.is_open
        assert bodies(connection.written)[-1] == (TEXT, b"late")


async def test_an_app_that_closes_is_answered_and_then_told() -> None:
    async with opened(idle) as connection:
        connection.feed(masked(TEXT, b"part")[:8])
        await connection.send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        connection.feed(masked(TEXT, b"part")[8:], masked(CLOSE, b"\x0f\xa0"))
        assert bodies(connection.written) == [(CLOSE, b"\x0f\xa0enough")]
        assert connection.transport.is_closing()
        with pytest.raises((RuntimeError, ClientDisconnected)):
            await connection.send({"type": "websocket.send", "text": "late"})


async def test_the_end_of_the_server_closes_with_1012_and_refuses_with_500() -> None:
    async with opened() as connection:
        connection.protocol.shutdown()
        assert bodies(connection.written) == [(CLOSE, b"\x03\xf4")]
        await turns()
        assert connection.received == [{"type": "websocket.disconnect", "code": 1012}]
    async with opened(silent) as connection:
        connection.protocol.shutdown()
        assert writes(connection)[0].startswith(b"HTTP/1.1 500 ")


async def test_an_end_of_file_ends_it() -> None:
    async with opened() as connection:
        connection.transport.end_of_file()
        assert not connection.lane.is_open
        await turns()
        assert connection.received == [{"type": "websocket.disconnect", "code": 1005}]


# --- pings ----------------------------------------------------------------------------------------


@by_the_clock
async def test_a_peer_is_pinged_at_the_interval_and_closed_where_it_does_not_answer() -> None:
    async with opened(ws_ping_interval=15, ws_ping_timeout=5) as connection:
        for _ in range(3):
            await asyncio.sleep(15)
            first, ping = bodies(connection.written)[-1]
            assert first == PING
            connection.feed(masked(PONG, ping))
        assert len(bodies(connection.written)) == 3
        assert connection.parsed is None
        await asyncio.sleep(19.9)
        (first, _), count = bodies(connection.written)[-1], len(bodies(connection.written))
        assert (first, count) == (PING, 4)
        connection.feed(masked(PONG, b"another"))
        await asyncio.sleep(1.1)
        assert bodies(connection.written)[-1] == (CLOSE, b"\x03\xf3keepalive ping timeout")
        await turns()
        assert connection.received[-1] == {"type": "websocket.disconnect", "code": 1005}


@by_the_clock
async def test_pings_go_on_where_no_answer_is_waited_for() -> None:
    async with opened(ws_ping_interval=15, ws_ping_timeout=None) as connection:
        await asyncio.sleep(61)
        assert [first for first, _ in bodies(connection.written)] == [PING] * 4
        assert connection.parsed is None


@by_the_clock
@pytest.mark.parametrize("is_answered", [True, False])
async def test_another_class_goes_on_pinging(is_answered: bool) -> None:
    async with opened(ws_ping_interval=15, ws_ping_timeout=5) as connection:
        await asyncio.sleep(15)
        ping = bodies(connection.written)[-1][1]
        connection.feed(masked(TEXT & ~FIN, b"half"))
        if is_answered:
            connection.feed(masked(PONG, ping))
        await asyncio.sleep(6)
        assert connection.transport.is_closing() is not is_answered
        await asyncio.sleep(10)
        pings = [body for first, body in bodies(connection.written) if first == PING]
        assert len(pings) == 1 + is_answered


@by_the_clock
async def test_an_interval_that_has_begun_ends_on_time_when_another_class_takes_over() -> None:
    async with opened(ws_ping_interval=15, ws_ping_timeout=5) as connection:
        await asyncio.sleep(10)
        connection.feed(masked(TEXT & ~FIN, b"half"))
        await asyncio.sleep(5)
        assert [first for first, _ in bodies(connection.written)] == [PING]


@by_the_clock
async def test_no_timer_stays_behind_a_connection() -> None:
    async with opened(ws_ping_interval=15, ws_ping_timeout=5) as connection:
        protocol: Any = connection.protocol
        keepalive = protocol._serving.keepalive
        assert isinstance(keepalive, Keepalive)
        assert keepalive._due
    assert not keepalive._due
    assert keepalive._timer is None


# --- what the adapter finds -----------------------------------------------------------------------


async def test_the_adapter_knows_the_server() -> None:
    async with opened(silent, ws_ping_interval=15) as connection:
        found = find_uvicorn(connection.receive)
        assert found is connection.protocol
        assert ping_seconds(found) == 15
        assert find_transport(connection.receive) is connection.transport
        assert server_send(connection.send, "websocket").is_inline
    async with opened(silent) as connection:
        assert ping_seconds(find_uvicorn(connection.receive)) is None


async def test_the_adapter_finds_it_behind_what_wraps_receive() -> None:
    found: list[Any] = []

    async def look(connection: UvicornConnection) -> None:
        found.append(find_uvicorn())
        await connection.send({"type": "websocket.accept"})

    async with opened(look) as connection:
        assert found == [connection.protocol]
