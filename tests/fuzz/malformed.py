"""Bytes that are hardly HTTP, and handshakes that are hardly WebSocket's."""

from collections.abc import Callable
from random import Random
from typing import Final

from tests.fuzz.raw_sockets import KEY
from tests.fuzz.requests import BAD_QUERIES, FOREIGN, PATHS, Draft

_HEAD: Final = b"POST /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Connection-ID: unknown\r\n"
_JSON: Final = b"Content-Type: application/json\r\n"


def malformed(random: Random) -> tuple[str, bytes]:
    """Bytes to which no answer may be good news."""
    make = random.choice(_KINDS)
    return make.__name__.strip("_").replace("_", " "), make(random)


def _noise(random: Random) -> bytes:
    return random.randbytes(random.choice([1, 16, 200, 5_000]))


def _request_line(random: Random) -> bytes:
    lines = [
        b"", b" ", b"GET", b"GET /socket", b"GET /socket HTTP/9.9", b"GET /socket HTTP/1.1 x",
        b"GET  /socket HTTP/1.1", b"GE\x00T /socket HTTP/1.1", b"get /socket http/1.1",
        b"GET /soc ket HTTP/1.1", b"GET /\xff\xfe HTTP/1.1", b"GET /\x00 HTTP/1.1", b"\r\n\r\n\r\n",
        b"GET http://evil.example/socket HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1",
        b"PRI * HTTP/2.0", b"GET * HTTP/1.1", b"GET /socket#x HTTP/1.1", b"GET socket HTTP/1.1",
        b"GET /socket HTTP/0.9", b"GET /socket HTTP/1.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"G" * 70_000 + b" / HTTP/1.1",
        b"GET /?" + b"a=%ff&" * 10_000 + b" HTTP/1.1",
    ]  # fmt: skip
    return random.choice(lines) + b"\r\nHost: 127.0.0.1\r\n\r\n"


def _header_line(random: Random) -> bytes:
    lines = [
        b"No colon here", b": no name", b" : x", b"Name : x", b"N\x00: x", b"N: \x00", b"N: a\nb",
        b"N: a\rb", b"\xff: x", b"N\xc5\xbe: x", b"N(): x", b"N: " + b"x" * 100_000, b" folded: x",
        b"x" * 100_000 + b": x", b"N: x\r\n" * 5_000, b"Host: b", b"Host: \xff", b"Host:",
        b"Cookie: \x01\x02\x03", b"Cookie: " + b"a=b; " * 20_000, b"Origin: \x7f\x00",
        b"Accept: " + b"text/event-stream," * 5_000, b"Upgrade: websocket", b"Expect: 200-maybe",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade",
    ]  # fmt: skip
    return _HEAD + random.choice(lines) + b"\r\nContent-Length: 0\r\n\r\n"


def _length(random: Random) -> bytes:
    values = [
        b"-1", b"+1", b"0x10", b"1e3", b"1, 2", b"2, 2", b"nine", b"", b"9" * 40, b"1.0", b"\xff",
        b"2\r\nContent-Length: 3", b"2\r\nTransfer-Encoding: chunked", b"99999999999", b"2 2",
    ]  # fmt: skip
    return _HEAD + _JSON + b"Content-Length: " + random.choice(values) + b"\r\n\r\n{}"


def _chunks(random: Random) -> bytes:
    bodies = [
        b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}{}\r\n0\r\n\r\n", b"\r\n\r\n",
        b"ffffffffffffffff\r\n{}", b"1" + b"0" * 200 + b"\r\n{}", b"2;" + b"x" * 70_000 + b"\r\n{}",
        b"2\r\n{", b"2\n{}\n0\n\n", b"0\r\nX: y\r\n" + b"T: x\r\n" * 5_000 + b"\r\n", b"{}",
        b"2\r\n{}\r\n0\r\n\xff\xfe: x\r\n\r\n", b"\x00\r\n", b" 2\r\n{}\r\n0\r\n\r\n",
    ]  # fmt: skip
    encoding = random.choice([b"chunked", b"chunked", b"chunked, chunked", b"gzip", b"xchunked"])
    return _HEAD + _JSON + b"Transfer-Encoding: " + encoding + b"\r\n\r\n" + random.choice(bodies)


def _spoiled(random: Random) -> bytes:
    text = bytearray(_HEAD + _JSON + b"Content-Length: 2\r\n\r\n{}")
    for _ in range(random.randint(1, 5)):
        start = random.randrange(len(text))
        stop = min(len(text), start + random.randrange(6))
        pieces = [b"", b"\r\n", b"\n", b"\r", b":", b" ", b"\x00", random.randbytes(3)]
        text[start:stop] = random.choice([*pieces, bytes(text[start:stop]) * 3])
    return bytes(text)


def _half(random: Random) -> bytes:
    text = _HEAD + _JSON + b"Content-Length: 1000\r\n\r\n" + b'{"action":' * 20
    return text[: random.randrange(1, len(text))]


def _behind(random: Random) -> bytes:
    """Return a whole request that is no good, and something behind it."""
    first = _HEAD + _JSON + b"Content-Length: 2\r\n\r\n{}"
    return first + random.choice([_noise, _request_line, _half])(random)


def _handshake(random: Random) -> bytes:
    key = KEY.encode()
    named = {
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Version": b"13",
        b"Sec-WebSocket-Key": key,
    }
    draft = Draft(method=b"GET")
    odd = [b"", b"0", b"99", b"x" * 5_000, b"\xff", b"13, 12", b"websocket, h2c"]
    match random.randrange(5):
        case 0:
            del named[random.choice(list(named))]
        case 1:
            named[random.choice([b"Upgrade", b"Connection", b"Sec-WebSocket-Version"])] = (
                random.choice(odd)
            )
        case 2:
            draft.path = random.choice(PATHS)
        case 3:
            draft.query = random.choice(BAD_QUERIES)
        case _:
            named[b"Origin"] = random.choice(FOREIGN)
    offers = [
        b"permessage-deflate; x=" + b"y" * 500,
        b"a, b; c, ;;;",
        b"\xff",
        b"permessage-deflate",
    ]
    if random.random() < 0.3:
        named[b"Sec-WebSocket-Extensions"] = random.choice(offers)
    if random.random() < 0.3:
        named[b"Sec-WebSocket-Protocol"] = random.choice([b"chat, \xff", b",,,", b"a" * 3_000])
    draft.headers = list(named.items())
    return draft.text()


_KINDS: Final[list[Callable[[Random], bytes]]] = [
    _noise, _request_line, _header_line, _length, _chunks, _spoiled, _half, _behind, _handshake,
    _handshake, _spoiled,
]  # fmt: skip
