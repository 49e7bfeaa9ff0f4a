"""The load client sends what a browser sends, and reads what a server compresses for it."""

import asyncio
from typing import cast

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode

from tests.benchmarks._browser import COUNT, HEADERS, Deflate, is_deflating
from tests.benchmarks._client import BenchmarkFailed, Client, Crowd
from tests.benchmarks._contenders import CONTENDERS
from tests.benchmarks._dialects import CHANNEL, Dialect
from tests.benchmarks.test_client import Wire, handshake, unmasked

ACCEPTED = b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n\r\n"
TEXTS = [b'{"a":"b"}', b"x" * 5_000, bytes(range(256)) * 9, b""]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def browser(wire: Wire, crowd: Crowd) -> Client:
    client = Client("/socket", crowd.fail, HEADERS)
    client.connection_made(cast(asyncio.BaseTransport, wire))
    return client


async def test_a_browsers_handshake_has_its_headers_once() -> None:
    wire = Wire()
    browser(wire, Crowd())
    head = wire.written[0]
    assert head.find(b"\r\n\r\n") == len(head) - 4
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
    assert len(names) == len(set(names)) == 5 + COUNT
    assert {b"origin", b"cookie", b"user-agent", b"accept-language"} < set(names)


def test_what_it_compresses_is_what_websockets_reads_and_the_reverse() -> None:
    _, server = ServerPerMessageDeflateFactory(
        server_max_window_bits=12, client_max_window_bits=12
    ).process_request_params([("client_max_window_bits", None)], [])
    client = Deflate()
    for text in TEXTS:
        sent = Frame(Opcode.TEXT, client.write(text), fin=True, rsv1=True)
        assert server.decode(sent).data == text
        assert client.read(bytes(server.encode(Frame(Opcode.TEXT, text)).data)) == text


@pytest.mark.parametrize(
    ("head", "is_it"),
    [
        (b"HTTP/1.1 101 ok\r\nsec-websocket-extensions:permessage-deflate", True),
        (b"HTTP/1.1 101 ok\r\nX: permessage-deflate", False),
        (b"HTTP/1.1 101 ok", False),
    ],
)
def test_compression_is_what_the_server_has_accepted(head: bytes, is_it: bool) -> None:
    assert is_deflating(head) is is_it


async def test_texts_are_compressed_only_if_the_server_has_accepted_that() -> None:
    wire, heard = Wire(), list[bytes]()
    plain, compressed = (browser(wire, Crowd()) for _ in range(2))
    compressed.on_text = plain.on_text = lambda _, text: heard.append(text)
    plain.connection_made(cast(asyncio.BaseTransport, wire))
    plain.data_received(handshake(wire))
    compressed.connection_made(cast(asyncio.BaseTransport, wire))
    compressed.data_received(handshake(wire).replace(b"\r\n\r\n", ACCEPTED))
    plain.say(b"hello")
    assert wire.written[-1][0] == 0x81
    compressed.say(b"hello")
    assert wire.written[-1][0] == 0xC1
    compressed.data_received(b"\xc1" + unmasked(Deflate().write(b"hi"))[1:])
    assert heard == [b"hi"]


async def test_a_compressed_text_that_was_not_agreed_on_is_a_fault() -> None:
    wire, crowd = Wire(), Crowd()
    client = browser(wire, crowd)
    client.data_received(handshake(wire))
    client.data_received(b"\xc1" + unmasked(Deflate().write(b"hi"))[1:])
    with pytest.raises(BenchmarkFailed, match="0xc1"):
        await crowd.finished()


async def test_a_client_that_a_server_may_end_closes_without_a_fault() -> None:
    wire, crowd = Wire(), Crowd()
    client = browser(wire, crowd)
    client.data_received(handshake(wire))
    crowd.clients.append(client)
    crowd.let_end()
    client.data_received(b"\x88\x02\x03\xf4")
    assert client.is_over
    assert wire.written[-1][0] == 0x88
    ended = asyncio.ensure_future(crowd.finished())
    await asyncio.sleep(0)
    crowd.finish()
    await ended  # and raises nothing


@pytest.mark.integration
@pytest.mark.parametrize("key", ["bare", "ours"])
async def test_browsers_are_let_in_and_their_messages_compressed(key: str) -> None:
    contender = CONTENDERS[key]
    crowd = Crowd()
    with contender.server() as server:
        await crowd.connect(server.port, Dialect(), 3, CHANNEL, HEADERS)
        assert [client.deflate is not None for client in crowd.clients] == [True] * 3
        crowd.close()
