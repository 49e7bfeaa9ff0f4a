"""How connections of the fast lane's own class end: the same as with the parser of websockets."""

import asyncio
import random
from typing import Any, Final

import pytest
from pondsocket_asgi._fastlane.continued_protocol import ContinuedProtocol, PlainClose
from pondsocket_asgi._fastlane.received import MOST_MESSAGES
from pondsocket_asgi.fastlane import Protocol
from pondsocket_asgi.testing import virtual_backend
from uvicorn.protocols.utils import ClientDisconnected

from tests.asgi.uvicorn_connection import (
    BINARY,
    CLOSE,
    CONT,
    FIN,
    HIGH,
    PING,
    PONG,
    TEXT,
    Kind,
    UvicornConnection,
    bodies,
    chunks,
    masked,
    turns,
)

VALID: Final = [b"", b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa0" + "\u00e9".encode() * 61, b"\x13\x87"]
INVALID: Final = {
    "one byte": b"\x03",
    "code 0": bytes(2),
    "code 999": b"\x03\xe7",
    "code 1004": b"\x03\xec",
    "code 1005": b"\x03\xed",
    "code 1006": b"\x03\xee",
    "code 1015": b"\x03\xf7",
    "code 2999": b"\x0b\xb7",
    "code 5000": b"\x13\x88",
    "no UTF-8": b"\x03\xe8\xff",
    "half a character": b"\x03\xe8\xc3",
}
ODD: Final = {
    "126 bytes": masked(CLOSE, b"\x03\xe8" + bytes(124)),
    "124 bytes, as if 126": b"\x88\xfe\0\0\0\0\x03\xe8" + b"x" * 124,
    "not masked": b"\x88\x02\x03\xe8",
    "not the last": masked(CLOSE & ~FIN, b"\x03\xe8"),
    "reserved bit": masked(CLOSE | 0x40, b"\x03\xe8"),
} | {name: masked(CLOSE, payload) for name, payload in INVALID.items()}
MESSAGES: Final[dict[str, dict[str, Any]]] = {
    "no code": {},
    "1000": {"code": 1000},
    "no reason": {"code": 1012, "reason": None},
    "a reason": {"code": 4999, "reason": "b\u00e9"},
    "123 bytes": {"code": 3000, "reason": "x" * 123},
    "124 bytes": {"code": 3000, "reason": "x" * 124},
    "code 1005": {"code": 1005},
    "code 999": {"code": 999},
    "code None": {"code": None},
    "surrogate": {"code": 1000, "reason": "\udc80"},
}
virtual_time = pytest.mark.parametrize(
    "anyio_backend", [virtual_backend("asyncio")], ids=["virtual time"]
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(kind: Kind = Protocol, **options: Any) -> UvicornConnection:
    return await UvicornConnection(kind=kind, **options).open()


async def said(connection: UvicornConnection, message: dict[str, Any]) -> str:
    """Send a message of the app, and return how that ended."""
    try:
        await connection.send(message)
    except Exception as error:  # noqa: BLE001 - which one is compared
        return repr(error)
    return "sent"


@pytest.mark.parametrize("payload", VALID)
async def test_a_close_of_the_peer_is_answered_without_a_parser(payload: bytes) -> None:
    connection = await opened()
    connection.feed(masked(TEXT, b"last") + masked(CLOSE, payload))
    assert isinstance(connection.parsed, PlainClose)
    assert bodies(connection.written) == [(CLOSE, payload)]
    assert connection.transport.is_closing()
    assert not connection.lane.is_open
    await turns()
    code, reason = int.from_bytes(payload[:2]) or 1005, payload[2:].decode()
    assert connection.received == [
        {"type": "websocket.receive", "text": "last"},
        {"type": "websocket.disconnect", "code": code, "reason": reason},
    ]
    assert connection.is_over
    assert await connection.receive() == {"type": "websocket.disconnect", "code": 1005}
    assert not connection.transport.is_aborted


@pytest.mark.parametrize("answer", VALID)
async def test_a_close_of_the_app_waits_for_the_answer_without_a_parser(answer: bytes) -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close", "code": 4000, "reason": "enough"})
    await turns()
    assert bodies(connection.written) == [(CLOSE, b"\x0f\xa0enough")]
    assert connection.received == [
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
    ]
    assert not connection.tasks  # the app has ended
    assert not connection.transport.is_closing()
    connection.feed(masked(CLOSE, answer))
    assert isinstance(connection.parsed, PlainClose)
    assert connection.parsed._successor is None
    assert connection.transport.is_closing()
    await turns()
    assert connection.is_over


async def test_what_comes_before_the_answer_takes_a_parser_and_is_dropped() -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    connection.feed(masked(TEXT, b"late"), masked(PING, b"?"))
    assert isinstance(connection.parsed._successor, ContinuedProtocol)
    assert bodies(connection.written) == [(CLOSE, b"\x03\xe8"), (PONG, b"?")]
    assert not connection.transport.is_closing()
    connection.feed(masked(CLOSE, b"\x03\xe8")[:3], masked(CLOSE, b"\x03\xe8")[3:])
    assert connection.transport.is_closing()
    await turns()
    assert connection.texts == []
    assert connection.is_over


@virtual_time
@pytest.mark.parametrize("before", [b"", masked(TEXT, b"late")])
async def test_a_peer_that_does_not_answer_has_ten_seconds(before: bytes) -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    await asyncio.sleep(3)
    connection.feed(before)
    await asyncio.sleep(6.9)
    assert not connection.transport.is_closing()
    await asyncio.sleep(0.2)
    await turns()
    assert connection.is_over


@virtual_time
@pytest.mark.parametrize("closes", ["the app", "the peer"])
async def test_a_peer_that_takes_nothing_is_cut_off(closes: str) -> None:
    connection = await opened()
    connection.transport.takes_all = False
    if closes == "the app":
        await connection.send({"type": "websocket.close"})
        connection.feed(masked(CLOSE, b"\x03\xe8"))
    else:
        connection.feed(masked(CLOSE, b"\x03\xe8"))
    assert isinstance(connection.parsed, PlainClose)
    assert connection.transport.is_closing()
    await asyncio.sleep(9.9)
    assert not connection.is_over
    await asyncio.sleep(0.2)
    assert connection.transport.is_aborted
    await turns()
    assert connection.is_over


@virtual_time
@pytest.mark.parametrize("is_answered", [True, False])
async def test_nothing_pings_a_connection_that_is_closing(is_answered: bool) -> None:
    connection = await opened(ws_ping_interval=5, ws_ping_timeout=5)
    await asyncio.sleep(5)
    ((_, ping),) = bodies(connection.written)
    if is_answered:
        connection.feed(masked(PONG, ping))
    await connection.send({"type": "websocket.close"})
    await asyncio.sleep(9)
    assert bodies(connection.written) == [(PING, ping), (CLOSE, b"\x03\xe8")]
    assert not connection.transport.is_closing()
    connection.feed(masked(CLOSE, b""))
    await turns()
    assert connection.is_over
    protocol: Any = connection.protocol
    assert not protocol._serving.keepalive._due


@virtual_time
async def test_the_end_of_the_server_waits_for_no_answer() -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    connection.protocol.shutdown()
    await turns()
    assert connection.is_over


async def test_what_is_odd_is_left_to_a_parser_from_the_start() -> None:
    for name, frame in ODD.items():
        connection = await opened()
        connection.feed(frame)
        assert isinstance(connection.parsed, ContinuedProtocol), name
        connection.transport.close()
        await turns()
        assert connection.is_over


class Parsed(Protocol):
    """The same class, where each end takes a parser."""

    __slots__ = ()

    def _close(self, close: Any) -> bool:
        return False


class Script:
    """What happens to a connection, drawn by lot: the same for each class."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _frames(self, dice: random.Random) -> bytes:
        text = masked(TEXT, b"x")
        before = dice.choice([b"", b"", b"", text, masked(PING, b"?"), masked(BINARY, b"\0")])
        before += dice.choice([b"", b"", b"", masked(TEXT & ~FIN, b"a"), masked(CONT, b"b")])
        close = dice.choice([*(masked(CLOSE, payload) for payload in VALID), *ODD.values()])
        after = dice.choice([b"", b"", b"", text, b"\xff", masked(CLOSE, b"")])
        return before + dice.choice([close, close, close, b""]) + after

    async def play(self, kind: Kind) -> list[Any]:
        """Return all that the peer and the app get to see."""
        dice = random.Random(self._seed)
        connection = await opened(kind)
        transport = connection.transport
        transport.takes_all = dice.random() < 0.8
        seen: list[Any] = []
        for _ in range(dice.randint(1, 4)):
            what = dice.choice(["feed", "feed", "close", "close", "send", "cut", "turns"])
            if what in ("feed", "cut"):
                frames = self._frames(dice)
                pieces = [frames] if what == "feed" else chunks(frames, dice, 7)
                connection.feed(*(piece for piece in pieces if piece))
            elif what == "close":
                message = dice.choice([*MESSAGES.values()])
                seen.append(await said(connection, {"type": "websocket.close"} | message))
            elif what == "send":
                message = {"type": "websocket.send", "text": "from the app"}
                seen.append(await said(connection, message))
            else:
                await turns()
            seen.append((bodies(connection.written), transport.is_closing()))
        end = dice.choice(["drain", "shutdown", "end of file", "wait"])
        if end == "shutdown" and not transport.is_closing():
            connection.protocol.shutdown()
        elif end == "end of file" and not transport.is_closing():
            transport.end_of_file()
        elif end == "drain" and transport.unsent:
            transport.drain()
        await turns()
        seen.append((bodies(connection.written), transport.is_closing(), connection.is_over))
        await asyncio.sleep(30)
        seen.append((bodies(connection.written), transport.is_closing(), transport.is_aborted))
        transport.abort()
        await turns()
        assert connection.is_over
        return [*seen, connection.received]


@virtual_time
@pytest.mark.parametrize("seed", range(100))
async def test_all_that_can_be_seen_of_an_end_is_as_with_a_parser(seed: int) -> None:
    for number in range(20):
        script = Script(100 * number + seed)
        assert await script.play(Protocol) == await script.play(Parsed)


async def test_an_app_that_sends_after_the_end_is_told_as_by_uvicorn() -> None:
    for message in (
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.close"},
        {"type": "?"},
    ):
        told = []
        for kind in (Protocol, Parsed):
            for closes in ("the app", "the peer"):
                connection = await opened(kind)
                connection.transport.takes_all = False
                if closes == "the app":
                    await connection.send({"type": "websocket.close"})
                else:
                    connection.feed(masked(CLOSE, b""))
                told.append(await said(connection, message))
                connection.transport.abort()
                await turns()
                told.append(await said(connection, message))
        assert told[:4] == told[4:], message
        assert repr(ClientDisconnected()) in told


async def test_a_peer_that_is_behind_may_be_behind_when_a_parser_takes_over() -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    connection.protocol.pause_writing()
    connection.feed(masked(PING, b"?"))
    assert connection.transport.is_paused  # the answer waits for the peer to read
    connection.protocol.resume_writing()
    assert not connection.transport.is_paused
    connection.transport.close()
    await turns()


async def test_a_peer_that_has_caught_up_is_not_behind_when_a_parser_takes_over() -> None:
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    connection.protocol.pause_writing()
    connection.protocol.resume_writing()
    connection.feed(masked(PING, b"?"))
    assert isinstance(connection.parsed._successor, ContinuedProtocol)
    assert not connection.transport.is_paused
    connection.transport.close()
    await turns()


async def test_bytes_behind_the_end_are_dropped() -> None:
    connection = await opened()
    connection.feed(masked(CLOSE, b""))
    connection.protocol.data_received(masked(TEXT, b"late"))
    assert connection.parsed._successor is None
    await turns()
    assert connection.texts == []


async def test_a_close_of_the_app_on_a_transport_that_closes_writes_nothing() -> None:
    connection = await opened()
    connection.transport.takes_all = False
    connection.lane.write(b"\x81\0")
    connection.transport.close()
    await connection.send({"type": "websocket.close"})
    assert bodies(connection.written) == [(TEXT, b"")]
    connection.transport.drain()
    await turns()
    assert connection.is_over


async def test_a_close_that_there_is_no_room_for_waits() -> None:
    connection = await opened()
    connection.feed(masked(TEXT, b"x") * MOST_MESSAGES + masked(CLOSE, b""))
    assert isinstance(connection.parsed, ContinuedProtocol)
    assert connection.written == b""
    await turns(2 * MOST_MESSAGES)
    assert len(connection.texts) == MOST_MESSAGES
    assert bodies(connection.written) == [(CLOSE, b"")]
    assert connection.is_over


async def test_a_peer_that_is_far_behind_or_not_read_is_left_to_a_parser() -> None:
    behind, unread = await opened(), await opened(ws_max_queue=1)
    behind.transport.takes_all = False
    behind.lane.write(bytes(HIGH + 1))
    unread.protocol._pause_reading()  # type: ignore[union-attr]
    for connection in (behind, unread):
        connection.protocol._close({"code": 1000})  # type: ignore[union-attr]
        assert connection.parsed is None
        connection.transport.abort()
        await turns()
