"""The load client reads every frame, and the scenarios notice a server's faults."""

import asyncio
import base64
import errno
import hashlib
import socket
import sys
from collections.abc import Callable
from typing import Final, cast

import pytest
import uvloop

from tests.benchmarks import _client
from tests.benchmarks._client import BenchmarkFailed, Client, Crowd, Phrase, client_frame
from tests.benchmarks._dialects import Dialect
from tests.benchmarks._scenarios.scenario import echo, fan_out, speak_ahead

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXTS = [b"", b"x" * 125, b"y" * 126, b"z" * 65_535, b"w" * 65_536]
SAY = Phrase(str.encode).fresh
# `linux/in.h`; Python has no name for it.
IP_LOCAL_PORT_RANGE: Final = 51


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Wire:
    """A server in memory: answers each text `times` times, with its own token or another."""

    def __init__(self, times: int = 1, token: bytes | None = None) -> None:
        self.times = times
        self.token = token
        self.hearers: list[Client] = []
        self.written: list[bytes] = []
        self.is_over = False

    def close(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def write(self, data: bytes) -> None:
        self.written.append(data)
        start = data.find(b"<")
        if start >= 0:
            token = self.token or data[start : start + 10]
            for client in self.hearers * self.times:
                asyncio.get_running_loop().call_soon(client.data_received, unmasked(token * 2))


def unmasked(text: bytes) -> bytes:
    """Make the frame of a server."""
    frame = client_frame(text)
    head = len(frame) - len(text) - 4
    return bytes((frame[0], frame[1] & 0x7F)) + frame[2:head] + text


def connected(wire: Wire, crowd: Crowd) -> Client:
    """Add a client to the crowd; its handshake is not answered yet."""
    client = Client("/socket", crowd.fail)
    client.connection_made(cast(asyncio.BaseTransport, wire))
    crowd.clients.append(client)
    wire.hearers.append(client)
    return client


def handshake(wire: Wire) -> bytes:
    key = wire.written[-1].partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324
    return b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept


def crowd_of(wire: Wire, size: int) -> Crowd:
    crowd = Crowd()
    for _ in range(size):
        connected(wire, crowd).data_received(handshake(wire))
    return crowd


@pytest.mark.parametrize("step", [1, 2, 7, 4_096, 10**6])
async def test_frames_are_found_wherever_the_stream_is_cut(step: int) -> None:
    wire, crowd, heard = Wire(), Crowd(), list[bytes]()
    client = connected(wire, crowd)
    client.on_text = lambda _, text: heard.append(text)
    # Joined bytes are copied for each piece; only the short texts are cut into single bytes.
    texts = TEXTS if step > 1_000 else TEXTS[:3]
    stream = handshake(wire) + b"".join(map(unmasked, texts))
    for start in range(0, len(stream), step):
        client.data_received(stream[start : start + step])
    assert heard == texts


async def test_a_frame_that_comes_alone_is_found_like_any_other() -> None:
    wire, crowd, heard = Wire(), Crowd(), list[bytes]()
    client = connected(wire, crowd)
    client.on_text = lambda _, text: heard.append(text)
    client.data_received(handshake(wire))
    for text in TEXTS:
        client.data_received(unmasked(text))
    assert heard == TEXTS


async def test_a_ping_is_answered_and_a_close_is_a_fault() -> None:
    wire = Wire()
    crowd = crowd_of(wire, 1)
    crowd.clients[0].data_received(b"\x89\x02hi")
    assert wire.written[-1] == b"\x8a\x82\0\0\0\0hi"
    crowd.clients[0].data_received(b"\x88\x02\x03\xf3")
    with pytest.raises(BenchmarkFailed, match="1011"):
        await crowd.finished()


async def test_a_close_is_sent_once() -> None:
    wire = Wire()
    client = crowd_of(wire, 1).clients[0]
    for _ in range(2):
        client.close()
    assert [data[0] for data in wire.written[1:]] == [0x88]
    assert wire.is_over


async def test_a_refused_handshake_fails() -> None:
    client = connected(Wire(), Crowd())
    expected = client.expect(Dialect().is_connected)
    client.data_received(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(BenchmarkFailed, match="403"):
        await expected


async def test_what_the_protocol_wants_to_be_answered_is_answered() -> None:
    wire = Wire()
    client = crowd_of(wire, 1).clients[0]
    expected = client.expect(
        lambda text: text == b"in", lambda text: b"pong" if text == b"ping" else None
    )
    client.data_received(unmasked(b"ping"))
    assert wire.written[-1] == client_frame(b"pong")
    client.data_received(unmasked(b"in"))
    await expected


async def test_deliveries_and_answers_are_counted() -> None:
    assert await fan_out(crowd_of(Wire(), 5), SAY, 3) == 15
    assert await echo(crowd_of(Wire(), 1), SAY, 3) == 3


@pytest.mark.parametrize("wire", [Wire(times=2), Wire(token=b"<wrong-1.>")])
async def test_a_double_or_a_foreign_delivery_fails(wire: Wire) -> None:
    with pytest.raises(BenchmarkFailed, match="something else, or something twice"):
        await fan_out(crowd_of(wire, 2), SAY, 3)


@pytest.mark.parametrize("window", [1, 2, 4, 9])
async def test_a_window_of_messages_is_on_its_way_and_each_is_counted(window: int) -> None:
    wire = Wire()
    crowd = crowd_of(wire, 3)
    sent = len(wire.written)
    ahead = [asyncio.ensure_future(speak_ahead(crowd, SAY, window, 7))]
    await asyncio.sleep(0)
    assert len(wire.written) - sent == min(window, 7)
    assert await ahead[0] == 21
    assert len(wire.written) - sent == 7


@pytest.mark.parametrize("wire", [Wire(times=2), Wire(token=b"<wrong-1.>")])
async def test_a_double_or_a_foreign_delivery_fails_in_a_window_too(wire: Wire) -> None:
    with pytest.raises(BenchmarkFailed, match="something else, or out of order"):
        await speak_ahead(crowd_of(wire, 2), SAY, 2, 3)


async def test_an_answer_to_another_client_fails() -> None:
    with pytest.raises(BenchmarkFailed, match="another answer"):
        await echo(crowd_of(Wire(), 2), SAY, 3)


def test_a_phrase_holds_another_token_each_time() -> None:
    phrase = Phrase(lambda token: b"say " + token.encode())
    (one, first), (two, second) = phrase.fresh(), phrase.fresh()
    assert one != two
    assert first == client_frame(b"say " + one)
    assert second == client_frame(b"say " + two)
    with pytest.raises(ValueError, match="token"):
        Phrase(lambda _: b"nothing")


async def test_another_source_address_is_used_where_no_port_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []
    crowd = Crowd()
    client = Client("/socket", crowd.fail)

    def note(source: str | None) -> None:
        asked.append(source)
        if len(asked) < 3:
            raise OSError(errno.EADDRNOTAVAIL if len(asked) == 1 else errno.EADDRINUSE, "")
        if len(asked) == 5:
            raise OSError(errno.ECONNREFUSED, "")

    class Loop:
        async def create_connection(self, *_: object, sock: object = None) -> None:
            if sock is None:
                note(None)

    async def connected_from(source: str, _port: int) -> str:
        note(source)
        return source

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)
    monkeypatch.setattr(_client, "_connected_from", connected_from)
    for _ in range(2):
        await crowd._open(client, 1)
    assert asked == [None, "127.0.0.2", "127.0.0.3", "127.0.0.3"]
    with pytest.raises(ConnectionRefusedError):
        await crowd._open(client, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one such address")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_port_of_one_connection_serves_another_to_another_server(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def connect() -> None:
        crowd = Crowd(source=2)
        with (
            socket.create_server(("127.0.0.1", 0)) as first,
            socket.create_server(("127.0.0.1", 0)) as second,
        ):
            client = Client("/socket", crowd.fail)
            await crowd._open(client, first.getsockname()[1])
            source, port = client.transport.get_extra_info("sockname")
            assert source == "127.0.0.2"
            with socket.socket() as other:
                one_port = (port << 16 | port).to_bytes(4, sys.byteorder)
                try:
                    other.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, one_port)
                except OSError:
                    pytest.skip("before Linux 6.3 no socket can be made to take a port so")
                other.connect(second.getsockname())
                assert other.getsockname() == ("127.0.0.1", port)
            client.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(connect())


async def test_a_socket_that_does_not_connect_is_closed() -> None:
    with socket.socket() as nothing:
        nothing.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await _client._connected_from("127.0.0.1", nothing.getsockname()[1])
