"""The request that opens a WebSocket: it is taken apart as websockets does it, or not at all."""

import random
from typing import Any, Final

import pytest
from pondsocket_asgi._fastlane.upgrade import read_upgrade, switching_protocols
from pondsocket_asgi.fastlane import Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.asgi.uvicorn_connection import Kind, UvicornConnection, turns

KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="
USUAL: Final = {
    b"host": b"here",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY,
}


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


def request(
    target: bytes = b"/socket", /, *more: tuple[bytes, bytes], line: bytes = b"", **other: bytes
) -> bytes:
    """Return a request as uvicorn writes it out; `other` are headers with other values."""
    named = USUAL | {name.replace("_", "-").encode(): value for name, value in other.items()}
    lines = [line or b"GET %b HTTP/1.1" % target]
    lines += [b"%b: %b" % each for each in (*named.items(), *more)]
    return b"\r\n".join([*lines, b"", b""])


FIREFOX: Final = request(
    b"/chat/caf%C3%A9/socket?token=a%20b&x=1?2",
    (b"cookie", b"session=abc; theme=dark"),
    (b"origin", b"https://a.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
    (b"sec-websocket-extensions", b"permessage-deflate"),
    (b"sec-websocket-protocol", b"chat.v2, chat.v1"),
    connection=b"keep-alive, Upgrade",
)
PLAIN: Final = {
    "shortest": request(),
    "firefox": FIREFOX,
    "bytes above 127": request(b"/", (b"cookie", b"name=\xe4\xf6\xfc")),
    "an empty query": request(b"/a?"),
    "no space between subprotocols": request(b"/", (b"sec-websocket-protocol", b"a,B,c")),
    "inner white space": request(b"/", (b"x-more", b"a \t b")),
    "another case": request(upgrade=b"WebSocket", connection=b"upgrade"),
}
# Refused by websockets, or only written in a way that few clients do.
ODD: Final = {
    "nothing": b"",
    "another method": request(line=b"POST /socket HTTP/1.1"),
    "an older version of HTTP": request(line=b"GET /socket HTTP/1.0"),
    "a whole address": request(b"http://here/socket"),
    "a fragment": request(b"/a#b"),
    "a space in the path": request(b"/a b"),
    "bytes above 127 in the path": request(b"/\xe4"),
    "control characters in the path": request(b"/\x01"),
    "no lines": b"GET / HTTP/1.1\r\n\r\n",
    "more behind it": request() + b"GET / HTTP/1.1\r\n\r\n",
    "another request in a header": request(b"/", (b"x", b"a\r\n\r\nGET / HTTP/1.1")),
    "a bare line feed": request(b"/", (b"x", b"a\nsec-websocket-protocol: b")),
    "a bare carriage return": request(b"/", (b"x", b"a\rb")),
    "a folded line": request(b"/", (b"x", b"a\r\n b")),
    "a null": request(b"/", (b"x", b"a\0b")),
    "an empty value": request(b"/", (b"x", b"")),
    "a space behind a value": request(b"/", (b"x", b"a ")),
    "a tab behind a value": request(b"/", (b"x", b"a\t")),
    "two spaces before a value": request(b"/", (b"x", b" a")),
    "a large letter": request(b"/", (b"X-Other", b"a")),
    "a space in a name": request(b"/", (b"x y", b"a")),
    "no name": request(b"/", (b"", b"a")),
    "two keys": request(b"/", (b"sec-websocket-key", KEY)),
    "two origins": request(b"/", (b"origin", b"a"), (b"origin", b"b")),
    "two cookies": request(b"/", (b"cookie", b"a=1"), (b"cookie", b"b=2")),
    "a short key": request(sec_websocket_key=b"AAAA"),
    "a long key": request(sec_websocket_key=b"A" * 22 + b"AA=="),
    "a key with bits too many": request(sec_websocket_key=KEY[:-3] + b"B=="),
    "no base64": request(sec_websocket_key=b"*" + KEY[1:]),
    "version 8": request(sec_websocket_version=b"8"),
    "two versions": request(sec_websocket_version=b"13, 8"),
    "another upgrade": request(upgrade=b"h2c"),
    "two upgrades": request(upgrade=b"websocket, h2c"),
    "no upgrade": request(connection=b"close"),
    "another connection": request(connection=b"upgrade, close"),
    "a subprotocol with a space": request(b"/", (b"sec-websocket-protocol", b"a b")),
    "an empty subprotocol": request(b"/", (b"sec-websocket-protocol", b"a,,b")),
    "a body": request(b"/", (b"content-length", b"5")),
    "chunks": request(b"/", (b"transfer-encoding", b"chunked")),
    "a long line": request(b"/" + b"a" * 9_000),
    "many headers": request(b"/", *((b"x-%d" % number, b"a") for number in range(130))),
}


def by_websockets(data: bytes) -> Request | None:
    """Return a request as websockets reads it; None if it refuses it."""
    parser = ServerProtocol()
    parser.receive_data(data)
    events = parser.events_received()
    if not events or parser.parser_exc is not None:
        return None
    (event,) = events
    assert isinstance(event, Request)
    return event if parser.accept(event).status_code == 101 else None


def is_the_same(data: bytes) -> bool:
    """Whether what is taken apart is what websockets makes of it. False if it is left to it."""
    upgrade = read_upgrade(data)
    if upgrade is None:
        return False
    expected = by_websockets(data)
    assert expected is not None
    target = upgrade.path + (b"?" + upgrade.query if upgrade.query else b"")
    assert expected.path.removesuffix("?").encode() == target
    raw = [(name.encode(), value.encode("latin-1")) for name, value in expected.headers.raw_items()]
    assert upgrade.headers == raw
    return True


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_what_nearly_all_clients_send_is_taken_apart(data: bytes) -> None:
    assert is_the_same(data)


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_anything_odd_is_left_to_websockets(data: bytes) -> None:
    assert read_upgrade(data) is None


def test_no_request_that_was_changed_at_random_is_read_otherwise_than_by_websockets() -> None:
    dice = random.Random(18)
    pieces = [b"\r\n", b"\n", b"\r", b": ", b" ", b"\t", b",", b"\0", b"\x7f", b"\xff", b"?", b"%"]
    pieces += [b"x: y\r\n", b"GET / HTTP/1.1\r\n\r\n", b"upgrade: h2c\r\n", b"13", b"="]
    taken = 0
    for _ in range(4_000):
        data = bytearray(dice.choice([FIREFOX, request()]))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(data))
            match dice.randrange(4):
                case 0:
                    data[at] = dice.randrange(256)
                case 1:
                    del data[at : at + dice.randint(1, 4)]
                case 2:
                    data[at:at] = dice.choice(pieces)
                case _:
                    data[at : at + 1] = bytes([data[at] ^ 0x20])
        taken += is_the_same(bytes(data))
    assert taken > 200


async def scope_of(kind: Kind, data: bytes, **options: Any) -> tuple[Any, bytes]:
    """Return the scope of a request, without the lane, and what it is answered."""

    async def accept(connection: UvicornConnection) -> None:
        headers = [(b"Set-Cookie", b"a=1"), (b"x-latin", b"\xe4")]
        accept = {"type": "websocket.accept", "subprotocol": "chat.v2", "headers": headers}
        await connection.send(accept)
        await connection.receive()

    connection = UvicornConnection(accept, kind=kind, **options)
    connection.protocol.connection_made(connection.transport)
    connection.protocol.data_received(data)
    await turns()
    scope: Any = connection.scope
    if scope is not None:
        scope["extensions"].pop("pondsocket.fastlane", None)
    written = b"".join(connection.transport.written)
    connection.transport.close()
    await turns()
    return scope, b"\r\n".join(line for line in written.split(b"\r\n") if b"Date:" not in line)


@pytest.mark.parametrize("root_path", ["", "/mounted"])
@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
async def test_the_scope_and_the_answer_are_uvicorns(data: bytes, root_path: str) -> None:
    options = {"root_path": root_path, "ws_per_message_deflate": False}
    ours, theirs = [
        await scope_of(kind, data, **options) for kind in (Protocol, WebSocketsSansIOProtocol)
    ]
    assert ours == theirs
    assert b"101 Switching Protocols" in ours[1]


# uvicorn writes nothing behind the request, and fails where there is.
_NOT_WRITTEN: Final = ("nothing", "more behind it", "another request in a header")


@pytest.mark.parametrize("name", sorted(ODD.keys() - set(_NOT_WRITTEN)))
async def test_what_is_odd_is_answered_as_by_uvicorn(name: str) -> None:
    data, options = ODD[name], {"ws_per_message_deflate": False}
    ours, theirs = [
        await scope_of(kind, data, **options) for kind in (Protocol, WebSocketsSansIOProtocol)
    ]
    assert ours == theirs


def test_the_key_is_answered_as_in_the_standard() -> None:
    answer = switching_protocols(b"dGhlIHNhbXBsZSBub25jZQ==", (), None)
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Protocol:" not in answer
