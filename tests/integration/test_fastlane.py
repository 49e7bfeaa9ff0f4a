"""The fast lane in a real uvicorn, on both of its event loops, to clients of other projects."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.asgi.uvicorn_connection import CLOSE, CONT, FIN, PING, PONG, REQUEST, TEXT, masked
from tests.integration.clients import WAIT_SECONDS
from tests.integration.conftest import Shared
from tests.servers import DEFLATE_LANE, FAST_LANE, ROOT, Serve, Server

pytestmark = pytest.mark.integration

APP: Final = "tests.integration.fastlane_app:app"
Options = tuple[str, ...]
OPTIONS: Final[dict[str, Options]] = {
    "asyncio": ("--loop", "asyncio", *FAST_LANE),
    "uvloop": ("--loop", "uvloop", *FAST_LANE),
    "h11": ("--loop", "uvloop", "--http", "h11", *FAST_LANE),
    "deflate-asyncio": ("--loop", "asyncio", *DEFLATE_LANE),
    "deflate-uvloop": ("--loop", "uvloop", *DEFLATE_LANE),
}


# The others run with `nox -s servers`.
USUAL: Final = ("asyncio", "uvloop")


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in USUAL else pytest.mark.servers) for name in OPTIONS
    ]
)
def options(request: pytest.FixtureRequest) -> Options:
    """Run a test on each event loop, with each class of the fast lane."""
    return (*OPTIONS[request.param], "--log-level", "warning")


@pytest.fixture
def fast(shared: Shared, options: Options) -> Server:
    """Return a server with the fast lane."""
    return shared(APP, *options)


class Bare:
    """A connection by hand, of a peer that answers nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: Server, path: str) -> "Bare":
        """Shake hands, with a small buffer for what the server sends."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=16_384)
        writer.write((REQUEST % b"").replace(b"/socket", path.encode()))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame."""
        opcode, size = await self.reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        return opcode, await self.reader.readexactly(size)


async def asked(server: Server, path: str) -> str:
    """Return the first text that a path sends."""
    async with connect(f"{server.ws_url}{path}") as client:
        return str(await client.recv())


@asynccontextmanager
async def connected(
    url: str, compression: Literal["deflate"] | None
) -> AsyncIterator[ClientConnection]:
    """Yield a client for a block that must not take long."""
    async with asyncio.timeout(WAIT_SECONDS), connect(url, compression=compression) as client:
        yield client


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_prepared_frames_keep_their_place_between_sends(
    fast: Server, compression: Literal["deflate"] | None
) -> None:
    async with connected(f"{fast.ws_url}/mixed", compression) as client:
        texts = [str(size) + "ž" * size for size in (1, 62, 63, 20_000, 40_000)]
        for text in texts:
            await client.send(text)
        await client.send(iter(["in ", "three ", "parts"]))
        for text in [*texts, "in three parts"]:
            assert [await client.recv() for _ in range(5)] == [f"{text} {n}" for n in range(5)]


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_bytes_and_texts_come_back_and_pings_are_answered(
    fast: Server, compression: Literal["deflate"] | None
) -> None:
    async with connected(f"{fast.ws_url}/echo", compression) as client:
        for message in ("text", b"\x00\xff" * 40_000, "", b"", "x" * 70_000):
            await client.send(message)
            await (await client.ping())
            assert await client.recv() == message


async def test_closing_is_agreed_upon_from_both_sides(fast: Server) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        async with connect(f"{fast.ws_url}/echo") as client:
            await client.send("close")
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you say")
        assert closed.value.rcvd_then_sent
        async with connect(f"{fast.ws_url}/echo") as client:
            await client.close(4002, "enough")
        assert client.close_code == 4002
        assert "'code': 4002, 'reason': 'enough'" in await asked(fast, "/told")


async def test_a_peer_that_never_answers_a_ping_is_found(serve: Serve, options: Options) -> None:
    pings = ("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2")
    server = serve(APP, *options, *pings)
    async with asyncio.timeout(WAIT_SECONDS):
        bare = await Bare.connect(server, "/echo")
        bare.writer.write(masked(TEXT, b"here"))
        assert await bare.frame() == (TEXT, b"here")
        assert (await bare.frame())[0] == PING
        opcode, body = await bare.frame()
        assert (opcode, int.from_bytes(body[:2])) == (CLOSE, 1011)
        assert await bare.reader.read() == b""
        bare.writer.close()


async def test_the_end_of_the_server_is_told_as_1012(serve: Serve, options: Options) -> None:
    server = serve(APP, *options)
    async with asyncio.timeout(WAIT_SECONDS), connect(f"{server.ws_url}/mixed") as client:
        await client.send("hello")
        assert await client.recv() == "hello 0"
        server.signal(signal.SIGTERM)
        await client.wait_closed()
    assert client.close_code == 1012
    server.wait_exit(WAIT_SECONDS)


async def test_the_lane_closes_for_a_peer_that_does_not_read_and_opens_when_it_does(
    fast: Server,
) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        bare = await Bare.connect(fast, "/flood")
        bare.writer.write(masked(TEXT, b"go"))
        await asyncio.sleep(0.2)  # so long it does not read
        read = 0
        while (frame := await bare.frame())[1] == b"x" * 10_000:
            read += 10_000
        assert frame == (TEXT, b"%d" % read)
        assert 0 < read < 50_000_000
        bare.writer.close()


@pytest.mark.parametrize("size", [100, 2_000, 60_000])
async def test_a_client_that_is_faster_than_the_app_is_held_up(
    serve: Serve, options: Options, size: int
) -> None:
    server = serve(APP, *options)
    async with asyncio.timeout(WAIT_SECONDS):
        bare = await Bare.connect(server, "/sleepy")
        frame = masked(TEXT, b"y" * size)
        packet = frame * max(1, 60_000 // len(frame))
        sent = 0
        # Until neither side has read for a while: the buffers of both systems are full.
        while sent < 64 * 1024 * 1024:
            bare.writer.write(packet)
            sent += len(packet)
            try:
                async with asyncio.timeout(0.5):
                    await bare.writer.drain()
            except TimeoutError:
                break
        assert sent < 32 * 1024 * 1024
        await asked_nothing(server, "/wake")
        bare.writer.write(masked(TEXT, b"last"))
        assert await bare.frame() == (TEXT, b"%d" % (sent // len(frame) + 1))
        bare.writer.close()


async def asked_nothing(server: Server, path: str) -> None:
    async with connect(f"{server.ws_url}{path}"):
        pass


async def test_connections_leave_nothing_to_the_garbage_collector(
    serve: Serve, options: Options
) -> None:
    server = serve(APP, *options)
    async with asyncio.timeout(WAIT_SECONDS):
        for compression in ("deflate", None) * 5:
            async with connect(f"{server.ws_url}/echo", compression=compression) as client:
                await client.send("hello")
                await client.recv()
        for last_words in (b"", b"\x81\x00", masked(TEXT, b"\xff"), masked(TEXT, b"half")[:-1]):
            bare = await Bare.connect(server, "/echo")
            bare.writer.write(last_words)
            bare.writer.close()
            await bare.writer.wait_closed()
        # Itself, and until it has noticed the last end, those before.
        found = {await asked(server, "/alive") for _ in range(20)}
    # The lane that does not compress makes a parser at the end alone.
    assert ("1 1 0" if options[-3] == DEFLATE_LANE[-1] else "1 0 0") in found


def test_a_uvicorn_that_is_too_different_is_refused_by_a_sentence() -> None:
    program = (
        "from uvicorn.protocols.websockets.websockets_sansio_impl import"
        " WebSocketsSansIOProtocol as base\n"
        "del base.keepalive_timeout\n"
        "import pondsocket_asgi.fastlane"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert "misses keepalive_timeout in uvicorn" in done.stderr.splitlines()[-1]
    assert "--ws websockets-sansio" in done.stderr.splitlines()[-1]


# --- floods -------------------------------------------------------------------------------------

POND: Final = "tests.integration.app:app"
FLOODS: Final = {
    "pings": masked(PING, b"?"),
    "pongs": masked(PONG, b""),
    "1-byte fragments": masked(CONT & ~FIN, b"x"),
    "empty fragments": masked(CONT & ~FIN, b""),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_small_frames_is_told_goodbye_and_others_are_served_meanwhile(
    shared: Shared, options: Options, kind: str
) -> None:
    server = shared(POND, *options)
    async with asyncio.timeout(WAIT_SECONDS), connect(f"{server.ws_url}/socket") as other:
        await other.recv()  # CONNECTION
        eve = await Bare.connect(server, "/socket")
        frame = FLOODS[kind]
        begin = masked(TEXT & ~FIN, b"{") if "fragments" in kind else b""
        eve.writer.write(begin + frame * 20_000)
        texts = []
        while (received := await eve.frame())[0] != CLOSE:
            if received[0] == TEXT:
                texts.append(json.loads(received[1]))
        assert int.from_bytes(received[1][:2]) == 4429
        assert [text["event"] for text in texts] == ["CONNECTION", "GOODBYE"]
        assert texts[-1]["payload"]["code"] == 4429
        await other.send('{"action":"ping","requestId":"1"}')
        assert json.loads(await other.recv())["event"] == "PONG"
        # It does not answer the close, and is let go all the same.
        with contextlib.suppress(ConnectionError):
            assert await eve.reader.read() == b""
        eve.writer.close()


async def test_a_flood_to_an_app_without_a_pond_is_closed_with_1008(fast: Server) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        eve = await Bare.connect(fast, "/echo")
        eve.writer.write(masked(PING, b"") * 20_000)
        with contextlib.suppress(ConnectionError):
            while (received := await eve.frame())[0] == PONG:
                pass
            assert (received[0], received[1][:2]) == (CLOSE, b"\x03\xf0")
        eve.writer.close()
        assert "1008" in await asked(fast, "/told")


async def test_a_client_that_fragments_at_4_kib_and_pings_is_served(
    shared: Shared, options: Options
) -> None:
    server = shared(POND, *options)
    async with asyncio.timeout(WAIT_SECONDS), connect(f"{server.ws_url}/socket") as client:
        await client.recv()  # CONNECTION
        for number in range(200):
            text = f'{{"action":"ping","requestId":"{number}","payload":"{"x" * 60_000}"}}'
            await client.send(text[at : at + 4_096] for at in range(0, len(text), 4_096))
            await (await client.ping())
            assert json.loads(await client.recv())["requestId"] == str(number)
