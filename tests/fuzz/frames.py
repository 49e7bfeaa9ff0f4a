"""WebSocket frames that no client may send, and legal ones that few would (RFC 6455)."""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from tests.fuzz.raw_sockets import BINARY, CLOSE, PING, PONG, TEXT, deflated, frame

# What a close frame of the server may say to them.
PROTOCOL: Final = frozenset({1002})
ENCODING: Final = frozenset({1007, 1002})
SIZE: Final = frozenset({1009})
# Above the pond's own limit of 65,536 bytes, and above every server's (16 MiB).
TOO_LONG: Final = (65_537, 80_000, 300_000)
_BAD_UTF8: Final = [
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ab\xe2\x82", b"\x80",
    b"\xfe\xff",
]  # fmt: skip


class Fatal(NamedTuple):
    """Bytes after which the server has to end the connection.

    Args:
        codes: The close codes that say it right.
    """

    kind: str
    data: bytes
    codes: frozenset[int]


def fatal(random: Random, *, is_deflated: bool) -> Fatal:
    """One of them."""
    if is_deflated and random.random() < 0.5:
        return random.choice([_bomb, _no_deflate])(random)
    return random.choice(_KINDS)(random)


def _unmasked(_: Random) -> Fatal:
    return Fatal("unmasked frame", frame(b'{"action":"ping"}', mask=None), PROTOCOL)


def _reserved_opcode(random: Random) -> Fatal:
    opcode = random.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    return Fatal("reserved opcode", frame(random.randbytes(5), opcode), PROTOCOL)


def _reserved_bit(random: Random) -> Fatal:
    # The first of the three belongs to permessage-deflate.
    data = frame(b"{}", random.choice([TEXT, BINARY, PING]), rsv=random.choice([1, 2, 3]))
    return Fatal("reserved bit", data, PROTOCOL)


def _long_control(random: Random) -> Fatal:
    size = random.choice([126, 127, 1_000, 65_536])
    opcode = random.choice([CLOSE, PING, PONG])
    return Fatal("oversized control frame", frame(bytes(size), opcode), PROTOCOL)


def _fragmented_control(random: Random) -> Fatal:
    opcode = random.choice([CLOSE, PING, PONG])
    return Fatal("fragmented control frame", frame(b"\x03\xe8", opcode, fin=False), PROTOCOL)


def _loose_continuation(random: Random) -> Fatal:
    fin = random.random() < 0.5
    return Fatal("continuation of nothing", frame(b"x", 0, fin=fin), PROTOCOL)


def _interrupted(random: Random) -> Fatal:
    opcodes = [random.choice([TEXT, BINARY]) for _ in range(2)]
    data = frame(b"{", opcodes[0], fin=False) + frame(b"}", opcodes[1])
    return Fatal("message inside a message", data, PROTOCOL)


def _bad_text(random: Random) -> Fatal:
    data = frame(b'{"action":"' + random.choice(_BAD_UTF8) + b'"}')
    return Fatal("text that is not UTF-8", data, ENCODING)


def _bad_fragments(random: Random) -> Fatal:
    bad = random.choice(_BAD_UTF8)
    data = frame(b"{", fin=False) + frame(bad[:1], 0, fin=False) + frame(bad[1:] + b"(", 0)
    return Fatal("fragments that are not UTF-8", data, ENCODING)


def _short_close(_: Random) -> Fatal:
    return Fatal("close frame of one byte", frame(b"\x03", CLOSE), PROTOCOL)


def _odd_close(random: Random) -> Fatal:
    code = random.choice([0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
    return Fatal("close code out of range", frame(code.to_bytes(2), CLOSE), PROTOCOL)


def _garbled_close(_: Random) -> Fatal:
    return Fatal("close reason not UTF-8", frame(b"\x03\xe8\xff\xfe", CLOSE), ENCODING)


def _too_long(random: Random) -> Fatal:
    size = random.choice(TOO_LONG)
    data = random.choice([b" ", b"[", b"a", b"\xc3\xa9"[:1] + b"\xa9"]) * size
    opcode = TEXT if data.isascii() else BINARY
    return Fatal("message over the limit", frame(data[:size], opcode), SIZE)


def _too_long_in_all(random: Random) -> Fatal:
    part = bytes(20_000)
    data = frame(part, BINARY, fin=False) + frame(part, 0, fin=False) * 3 + frame(b"", 0)
    return Fatal("fragments over the limit", data, SIZE)


def _endless(random: Random) -> Fatal:
    # 2**63 - 1 is the longest that may be announced; above it the first bit is set.
    size = random.choice([2**26, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
    codes = SIZE | PROTOCOL
    return Fatal("gigantic announced length", frame(b"{}", announced=size), codes)


def _bomb(random: Random) -> Fatal:
    size = random.choice([2**17, 2**20, 2**25])
    return Fatal("compressed bomb", frame(deflated(b" " * size), TEXT, rsv=4), SIZE)


def _no_deflate(random: Random) -> Fatal:
    data = b"\xff" + random.randbytes(40)  # a block type that does not exist
    return Fatal("compressed nonsense", frame(data, TEXT, rsv=4), ENCODING | SIZE)


_KINDS: Final[list[Callable[[Random], Fatal]]] = [
    _unmasked, _reserved_opcode, _reserved_bit, _long_control, _fragmented_control,
    _loose_continuation, _interrupted, _bad_text, _bad_fragments, _short_close, _odd_close,
    _garbled_close, _too_long, _too_long_in_all, _endless,
]  # fmt: skip


def legal(random: Random, data: bytes, *, is_deflated: bool) -> tuple[str, bytes]:
    """Return a message as frames: whole, in fragments, with pings between, masked in any way."""
    opcode = BINARY
    if random.random() < 0.7:
        try:
            data.decode()
            opcode = TEXT
        except UnicodeDecodeError:
            pass  # as text it would be fatal
    rsv = 0
    if is_deflated and random.random() < 0.5:
        data, rsv = deflated(data), 4
    mask = random.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", random.randbytes(4)])
    if random.random() < 0.75:
        return "one frame", frame(data, opcode, rsv=rsv, mask=mask)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice([1, 2, 3, 20])))
    parts = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    text = b""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        first = place == 0
        text += frame(part, opcode if first else 0, fin=last, rsv=rsv if first else 0, mask=mask)
        # wsproto 1.3.2 forgets, behind a control frame, that the rest is compressed as well.
        if not last and not rsv and random.random() < 0.2:
            text += frame(random.randbytes(random.choice([0, 1, 125])), random.choice([PING, PONG]))
    return "fragments", text
