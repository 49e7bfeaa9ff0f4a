"""Frames that are taken without a parser: where they end, and which are only begun."""

from typing import Final

import pytest
from pondsocket_asgi._fastlane.plain_frames import (
    close_of,
    end_of_control,
    frame_of,
    is_part,
    read_close,
)

from tests.asgi.uvicorn_connection import (
    BINARY,
    CLOSE,
    CONT,
    FIN,
    PING,
    PONG,
    TEXT,
    bodies,
    masked,
)

LARGEST: Final = 60_000


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 60_000])
def test_every_beginning_of_a_plain_frame_is_a_part_of_one(opcode: int, size: int) -> None:
    if opcode in (PING, PONG) and size > 125:
        return
    whole = masked(opcode, b"x" * size)
    for cut in {1, 2, 3, 4, 5, 6, 7, 8, 9, len(whole) // 2, len(whole) - 1}:
        if 0 < cut < len(whole):
            assert is_part(whole[:cut], LARGEST), cut
    assert not is_part(whole, LARGEST)


@pytest.mark.parametrize(
    "data",
    [
        masked(TEXT & ~FIN, b"half")[:5],
        masked(CONT, b"half")[:5],
        masked(CLOSE, b"\x03\xe8")[:3],
        masked(TEXT | 0x40, b"compressed")[:5],
        masked(TEXT, bytes(LARGEST + 1))[:5],
        masked(TEXT, bytes(70_000))[:5],
        masked(PING, bytes(126))[:5],
        bytes((TEXT, 20)),
        bytes((TEXT, 126, 0)),
    ],
    ids=["fragment", "more", "close", "RSV1", "too large", "64 bits", "ping", "bare", "bare 126"],
)
def test_any_other_beginning_is_for_the_parser(data: bytes) -> None:
    assert not is_part(data, LARGEST)


def test_a_ping_and_a_pong_end_where_their_size_says() -> None:
    for opcode in (PING, PONG):
        for size in (0, 1, 125):
            frame = masked(opcode, b"x" * size)
            assert end_of_control(b"before" + frame + b"behind", 6) == 6 + len(frame)
            assert end_of_control(frame[:-1], 0) == 0
    bare = bytes((PING, 4)) + bytes(8)
    others = [masked(TEXT, b"no control frame"), masked(PING, bytes(126)), bare, masked(0x09, b"")]
    assert [end_of_control(each, 0) for each in others] == [0, 0, 0, 0]


def test_a_frame_has_the_bytes_or_the_text_of_a_message() -> None:
    assert bodies(frame_of({"bytes": b"\xff" * 200, "text": None})) == [(BINARY, b"\xff" * 200)]
    assert bodies(frame_of({"text": "ž"})) == [(TEXT, "ž".encode())]
    assert bodies(frame_of({"text": ""})) == [(TEXT, b"")]
    assert frame_of({}) == b""


@pytest.mark.parametrize("size", [0, 1, 123])
def test_a_close_frame_is_read_if_it_is_alone_whole_and_valid(size: int) -> None:
    payload = b"\x0f\xa0" + b"x" * size
    whole = masked(CLOSE, payload)
    assert read_close(whole) == (4000, "x" * size, payload)
    assert read_close(masked(CLOSE, b"")) == (1005, "", b"")
    for other in (whole[:-1], whole + b"x", b"", masked(PING, payload), masked(CLOSE, bytes(2))):
        assert read_close(other) is None


def test_a_close_of_the_app_is_one_frame_if_it_is_valid() -> None:
    found = close_of({"code": 4000, "reason": "ž"})
    assert found == (4000, "ž", b"\x0f\xa0" + "ž".encode())
    assert found.wire == b"\x88\x04\x0f\xa0" + "ž".encode()
    assert close_of({"reason": None}) == (1000, "", b"\x03\xe8")
    assert close_of({"reason": "x" * 124}) is None
    assert close_of({"code": 1005}) is None
