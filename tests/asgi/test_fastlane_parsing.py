"""The fast lane's way in, against uvicorn's own: the same bytes are the same messages."""

import random
import zlib
from typing import Final

import pytest
from pondsocket_asgi.fastlane import DeflateProtocol, Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tests.asgi.uvicorn_connection import (
    ALL,
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    FIN,
    PING,
    PONG,
    REQUEST,
    TEXT,
    Kind,
    Lanes,
    UvicornConnection,
    bodies,
    chunks,
    masked,
    turns,
)

LARGEST: Final = 3_000
WORDS: Final = ("", "a", "hello", "žluťoučký kůň", "\N{GRINNING FACE}" * 31, "x" * 125, "y" * 126)

# In the place of a payload, this is no frame.
LOOKALIKE: Final = masked(TEXT, b"alike")

pytestmark = pytest.mark.usefixtures("each_lane")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: uvicorn knows no other."""
    return "asyncio"


async def told(
    kind: Kind | None, pieces: list[bytes], headers: bytes = b""
) -> tuple[list[object], list[tuple[int, bytes]]]:
    """Return what the app receives of these bytes, and what the peer is answered."""
    connection = await UvicornConnection(kind=kind, ws_max_size=LARGEST).open(headers)
    assert connection.received == []
    connection.feed(*pieces)
    await turns()
    received, written = connection.received, bodies(connection.written)
    connection.transport.close()
    await turns()
    return received, written


async def by_bytes(stream: bytes, headers: bytes = b"") -> object:
    """Return what uvicorn makes of it, frame by frame: of several in a read it forgets the messages
    before one that is broken."""
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    return await told(WebSocketsSansIOProtocol, pieces, headers)


def agreed_of(headers: bytes) -> bytes:
    """Return these headers, less what the class of the fast lane declines."""
    return b"" if Lanes.kind is Protocol else headers


class Stream:
    """Frames of a peer that mixes everything.

    Args:
        dice: Seeded.
        is_compressed: Whether permessage-deflate was negotiated.
    """

    def __init__(self, dice: random.Random, *, is_compressed: bool) -> None:
        self._dice = dice
        self._deflate = zlib.compressobj(wbits=-12) if is_compressed else None

    def frames(self, count: int) -> bytes:
        """So many messages, with control frames between and within them."""
        return b"".join(self._message() for _ in range(count))

    def fault(self) -> bytes:
        """Return what ends a connection."""
        dice = self._dice
        faults = (
            masked(TEXT, b"\xff\xfe"),
            masked(TEXT, "é".encode()[:1]),
            masked(TEXT, bytes(LARGEST + 1)),
            masked(TEXT | 0x20, b"reserved"),
            masked(TEXT | 0x10, b"reserved"),
            masked(0x83, b"no such opcode"),
            masked(CONT, b"of nothing"),
            masked(PING, bytes(126)),
            masked(PING & 0x7F, b"half a ping"),
            masked(CLOSE, b"\x03"),
            masked(CLOSE, b"\x03\xe8bye"),
            masked(CLOSE, b""),
            bytes((TEXT, 3)) + b"bare",
            masked(TEXT & 0x7F, b"half ") + masked(TEXT, b"another"),
            masked(TEXT & 0x7F, bytes(LARGEST)) + masked(CONT, b"too much"),
            masked(BINARY & 0x7F, b"half") + masked(CLOSE, b"\x03\xe9"),
            masked(BINARY, b"")[:1] + b"\xff" + bytes(12),
            masked(TEXT | 0x40, b"\xff\xff"),
        )
        return dice.choice(faults)

    def _message(self) -> bytes:
        dice = self._dice
        kind = dice.random()
        if kind < 0.1:
            return masked(dice.choice((PING, PONG)), dice.randbytes(dice.choice((0, 4, 125))))
        opcode, body = TEXT, dice.choice(WORDS).encode()
        if dice.random() < 0.3:
            opcode, body = (
                BINARY,
                dice.randbytes(dice.choice((0, 1, 125, 126, 1_500, LARGEST - 100))),
            )
        rsv = 0
        if self._deflate is not None and dice.random() < 0.4:
            body = self._deflate.compress(body) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            body, rsv = body[:-4], 0x40
        if kind < 0.7:
            return masked(opcode | rsv, body, dice.randbytes(4))
        return self._in_pieces(opcode | rsv, body)

    def _in_pieces(self, opcode: int, body: bytes) -> bytes:
        dice = self._dice
        pieces = chunks(body, dice, max(1, len(body) // 2)) or [b""]
        frames = []
        for number, piece in enumerate(pieces):
            first = (CONT if number else opcode) & ~FIN
            if number == len(pieces) - 1:
                first |= FIN
            frames.append(masked(first, piece, dice.randbytes(4)))
            if dice.random() < 0.3:
                frames.append(masked(PING, b"within"))
        return b"".join(frames)


@pytest.mark.parametrize("headers", [b"", DEFLATE], ids=["plain", "deflate"])
@pytest.mark.parametrize("seed", range(40))
async def test_any_stream_cut_anywhere_is_what_uvicorn_makes_of_it(
    seed: int, headers: bytes
) -> None:
    dice = random.Random(seed)
    agreed = agreed_of(headers)
    peer = Stream(dice, is_compressed=bool(agreed))
    stream = peer.frames(dice.randint(1, 12))
    longest = dice.choice((1, 3, 20, 400, 5_000, 100_000))
    pieces = chunks(stream, dice, longest)
    ours = await told(None, pieces, headers)
    assert ours == await told(WebSocketsSansIOProtocol, pieces, agreed)
    assert ours == await by_bytes(stream, agreed)
    assert ours[0] or ours[1]


@pytest.mark.parametrize("headers", [b"", DEFLATE], ids=["plain", "deflate"])
@pytest.mark.parametrize("seed", range(60))
async def test_any_fault_ends_a_connection_as_in_uvicorn(seed: int, headers: bytes) -> None:
    dice = random.Random(seed)
    agreed = agreed_of(headers)
    peer = Stream(dice, is_compressed=bool(agreed))
    stream = peer.frames(dice.randint(0, 3)) + peer.fault() + peer.frames(2)
    pieces = chunks(stream, dice, dice.choice((1, 7, 400, 100_000)))
    ours = await told(None, pieces, headers)
    assert ours == await by_bytes(stream, agreed)
    assert ours[0][-1]["type"] == "websocket.disconnect"  # type: ignore[index]


FEW: Final = (
    masked(TEXT, "žluť".encode())
    + masked(PING, b"are you there")
    + masked(TEXT & 0x7F, b"half")
    + masked(PING, b"within")
    + masked(CONT, b" and half")
    + masked(BINARY, b"\x00\xff")
    + masked(TEXT, b"l" * 300)
    + masked(TEXT, b"")
    + masked(CLOSE, b"\x03\xe8bye")
)


async def test_a_stream_may_be_cut_in_two_at_every_byte() -> None:
    expected = await by_bytes(FEW)
    for cut in range(1, len(FEW)):
        assert await told(None, [FEW[:cut], FEW[cut:]]) == expected, cut


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (masked(TEXT, b"\xff"), 1007),
        (masked(TEXT, bytes(LARGEST + 1)), 1009),
        (masked(TEXT, bytes(70_000))[:14], 1009),
        (bytes((TEXT, 2)) + b"hi", 1002),
        (masked(TEXT | 0x20, b"hi"), 1002),
        (masked(TEXT | 0x40, b"hi"), 1002),
    ],
    ids=["UTF-8", "size", "announced size", "unmasked", "reserved bits", "RSV1"],
)
async def test_a_fault_has_its_close_code(frame: bytes, code: int) -> None:
    received, written = await told(None, [masked(TEXT, b"before") + frame])
    assert [message.get("code") for message in received] == [None, code]  # type: ignore[attr-defined]
    ((opcode, body),) = written
    assert (opcode, int.from_bytes(body[:2])) == (CLOSE, code)


@pytest.mark.parametrize("kind", ALL)
async def test_a_limit_may_be_less_than_what_a_short_frame_holds(kind: Kind) -> None:
    connection = await UvicornConnection(kind=kind, ws_max_size=10).open()
    connection.feed(masked(TEXT, b"x" * 10), masked(TEXT, b"y" * 11))
    await turns()
    assert connection.texts == ["x" * 10]
    ((opcode, body),) = bodies(connection.written)
    assert (opcode, int.from_bytes(body[:2])) == (CLOSE, 1009)
    connection.transport.close()
    await turns()


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 127, 128, LARGEST - 1, LARGEST, LARGEST + 1])
async def test_one_text_in_a_read_is_what_uvicorn_makes_of_it(size: int) -> None:
    text, broken = masked(TEXT, b"x" * size), masked(TEXT, b"\xff" * size)
    for stream in ([text], [text[:-1], text[-1:] + text], [text + text[:1], text[1:]], [broken]):
        assert await told(None, stream) == await by_bytes(b"".join(stream))


@pytest.mark.parametrize("kind", ALL)
async def test_a_text_may_be_longer_than_two_bytes_can_say(kind: Kind) -> None:
    connection = await UvicornConnection(kind=kind).open()
    texts = ["x" * 65_535, "y" * 65_536]
    for text in texts:
        connection.feed(masked(TEXT, text.encode()))
        await turns()
    assert connection.texts == texts
    connection.transport.close()
    await turns()


@pytest.mark.parametrize("count", [2, 5_000])
async def test_many_frames_of_one_segment_come_in_order(count: int) -> None:
    connection = await UvicornConnection().open()
    connection.feed(b"".join(masked(TEXT, b"%d" % number) for number in range(count)))
    await turns()
    assert connection.texts == [str(number) for number in range(count)]
    assert not connection.transport.is_paused
    connection.transport.close()
    await turns()


async def test_plain_frames_need_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await UvicornConnection(kind=DeflateProtocol).open(DEFLATE)
    given: list[bytes] = []
    parse = connection.parsed.conn.receive_data

    def watch(data: bytes) -> None:
        given.append(data)
        parse(data)

    monkeypatch.setattr(connection.parsed.conn, "receive_data", watch)
    ping, text, long = masked(PING, b"?"), masked(TEXT, b"short"), masked(BINARY, bytes(2_000))
    connection.feed(text + long + ping + text, long, text + long[:1_000], long[1_000:] + text)
    await turns()
    assert b"".join(given) == ping + long
    assert len(connection.received) == 7
    connection.transport.close()
    await turns()


@pytest.mark.parametrize(
    "stream",
    [
        [masked(BINARY, LOOKALIKE, bytes(4))[:6], LOOKALIKE, masked(TEXT, b"and on")],
        [masked(TEXT & 0x7F, b"half"), LOOKALIKE],
        [masked(TEXT & 0x7F, b"half"), masked(CONT & 0x7F, b""), LOOKALIKE],
        [masked(TEXT & 0x7F, b"half"), masked(PING, b""), LOOKALIKE],
        [bytes((TEXT, 0x80 | 126, 0, 124)) + bytes(4) + b"z" * 124],
        [bytes((TEXT, 0x80 | 127)) + (5).to_bytes(8) + bytes(4) + b"z" * 5, LOOKALIKE],
        [bytes((TEXT, 20)) + bytes(20)],
        [bytes((TEXT, 0x80 | 127)) + b"\xff" * 8 + bytes(20)],
    ],
    ids=["payload", "message", "more", "ping", "126", "127", "unmasked", "endless"],
)
async def test_what_looks_like_a_whole_frame_and_is_none_is_taken_for_none(
    stream: list[bytes],
) -> None:
    expected = await by_bytes(b"".join(stream))
    assert await told(None, stream) == expected
    assert await told(None, [b"".join(stream)]) == expected


async def test_bytes_before_the_answer_leave_everything_to_uvicorn() -> None:
    frame = masked(BINARY, LOOKALIKE, bytes(4))
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(REQUEST % b"")
    connection.protocol.data_received(frame[:6])
    await turns()
    connection.feed(frame[6:], LOOKALIKE)
    await turns()
    first, second = connection.received
    assert (first["bytes"], second["text"]) == (LOOKALIKE, "alike")
    connection.transport.close()
    await turns()


async def test_bytes_that_come_with_the_request_leave_everything_to_uvicorn() -> None:
    frame = masked(BINARY, LOOKALIKE, bytes(4))
    connection = UvicornConnection()
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(REQUEST % b"" + frame[:6])
    await turns()
    connection.feed(frame[6:])
    await turns()
    assert connection.received[0]["bytes"] == LOOKALIKE
    connection.transport.close()
    await turns()
