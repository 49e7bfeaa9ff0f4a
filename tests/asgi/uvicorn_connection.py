"""One connection of a uvicorn protocol class, over a transport that is under a test's control."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from pondsocket_asgi._fastlane.keepalive import Keepalive
from pondsocket_asgi._fastlane.serving import Stage
from pondsocket_asgi.fastlane import DeflateProtocol, Lane, Protocol
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

AnyProtocol: TypeAlias = WebSocketsSansIOProtocol | Protocol
Kind: TypeAlias = type[AnyProtocol]
LANES: Final[tuple[Kind, ...]] = (Protocol, DeflateProtocol)
ALL: Final[tuple[Kind, ...]] = (WebSocketsSansIOProtocol, *LANES)
HIGH: Final = 65_536


class Lanes:
    """The class of the fast lane that a test runs with: the fixture `each_lane` sets it."""

    kind: Kind = Protocol


TEXT: Final = 0x81
BINARY: Final = 0x82
CONT: Final = 0x80
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
FIN: Final = 0x80

REQUEST: Final = (
    # As uvicorn writes it out: with names in small letters.
    b"GET /socket HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%b\r\n"
)
DEFLATE: Final = b"sec-websocket-extensions: permessage-deflate\r\n"


def masked(opcode: int, body: bytes, mask: bytes = b"\x01\xfe\x40\x99") -> bytes:
    """Return a client's frame; `opcode` is its first byte as it is on the wire."""
    size = len(body)
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((opcode, 0x80 | 127)) + size.to_bytes(8)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


def bodies(written: bytes) -> list[tuple[int, bytes]]:
    """Return the frames of a server: first byte and payload."""
    found = []
    while written:
        size, body = written[1], 2
        if size >= 126:
            body += 2 if size == 126 else 8
            size = int.from_bytes(written[2:body])
        found.append((written[0], written[body : body + size]))
        written = written[body + size :]
    return found


def chunks(stream: bytes, dice: random.Random, longest: int) -> list[bytes]:
    """Return a stream as a network may cut it."""
    found = []
    while stream:
        cut = dice.randint(1, longest)
        found.append(stream[:cut])
        stream = stream[cut:]
    return found


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written, and is told what the peer does.

    Args:
        protocol: Whose connection it is.
    """

    def __init__(self, protocol: AnyProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.unsent = 0
        self.takes_all = True
        self.is_paused = False
        self.pauses = 0
        self.is_aborted = False
        self.closed = asyncio.Event()
        self._news = asyncio.Event()
        self._closing = False

    def write(self, data: Any) -> None:
        """Keep it; a peer that does not read makes the buffer grow."""
        self.written.append(bytes(data))
        self._news.set()
        if not self.takes_all:
            before, self.unsent = self.unsent, self.unsent + len(data)
            if before <= HIGH < self.unsent:
                self.protocol.pause_writing()

    def drain(self) -> None:
        """Have the peer read all."""
        was_full, self.unsent = self.unsent > HIGH, 0
        if was_full:
            self.protocol.resume_writing()
        if self._closing:
            self._end()

    def pause_reading(self) -> None:
        self.is_paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End it as soon as the peer has read all, as real ones do."""
        if not self._closing:
            self._closing = True
            if not self.unsent:
                self._end()

    def abort(self) -> None:
        self._closing = True
        self.unsent = 0
        if not self.closed.is_set():
            self.is_aborted = True
            self._end()

    def end_of_file(self) -> None:
        """Have the peer end its side."""
        self.protocol.eof_received()
        self.close()

    def lose(self, reason: Exception) -> None:
        """End the connection at once."""
        self._closing = True
        self.closed.set()
        self._lose(reason)

    def _end(self) -> None:
        self.closed.set()
        asyncio.get_running_loop().call_soon(self._lose, None)

    def _lose(self, reason: Exception | None) -> None:
        # As real ones do: they hold no protocol whose connection is lost.
        protocol = self.protocol
        del self.protocol
        protocol.connection_lost(reason)

    async def wrote(self, count: int) -> None:
        """Wait until so many writes have been made."""
        while len(self.written) < count:
            self._news.clear()
            await self._news.wait()

    def get_protocol(self) -> Any:
        return self.protocol

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return HIGH // 4, HIGH

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 81)}.get(name, default)


App: TypeAlias = Callable[["UvicornConnection"], Any]


class UvicornConnection:
    """One connection; its app accepts and keeps what it receives.

    Args:
        kind: The class of the protocol; by default the fast lane's that the test runs with.
        app: What runs after `websocket.connect`; by default `listen`.
        options: uvicorn's.
    """

    def __init__(self, app: App | None = None, *, kind: Kind | None = None, **options: Any) -> None:
        kind = kind or Lanes.kind
        # What uvicorn wraps around the app (a middleware for proxies) is not what is looked at.
        usual: dict[str, Any] = {"ws_ping_interval": None, "log_config": None, "lifespan": "off"}
        options = usual | {"proxy_headers": False, "interface": "asgi3"} | options
        self.received: list[Any] = []
        self.scope: Any = None
        self.receive: Any = None
        self.send: Any = None
        self._app: App = app or UvicornConnection.listen
        config = Config(self._run, ws=kind, http="h11", **options)
        config.load()
        self._state = ServerState()
        self.protocol = kind(config, self._state, {}, _loop=asyncio.get_running_loop())
        self.transport = FakeTransport(self.protocol)

    async def open(self, headers: bytes = b"") -> "UvicornConnection":
        """Shake hands; what is written from then on is in `written`."""
        self.protocol.connection_made(self.transport)
        self.protocol.data_received(REQUEST % headers)
        await turns()
        return self

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What uvicorn waits for when it ends."""
        return self._state.tasks.copy()

    @property
    def is_over(self) -> bool:
        """Whether the connection is lost, and uvicorn has forgotten it."""
        protocol = self.protocol
        if isinstance(protocol, Protocol):
            is_lost = protocol._stage is Stage.LOST
        else:
            is_lost = protocol.disconnected
        return is_lost and not self._state.connections

    @property
    def parsed(self) -> Any:
        """The protocol with uvicorn's parser, if there is one."""
        protocol = self.protocol
        return protocol._successor if isinstance(protocol, Protocol) else protocol

    def miss_answer(self) -> None:
        """Have no answer to a ping in time."""
        protocol = self.protocol
        if isinstance(protocol, Protocol) and protocol._successor is None:
            protocol._serving.keepalive = Keepalive(asyncio.get_running_loop(), 20, 20)
            protocol._ping = b"ping"
            protocol.ping_or_end()
        else:
            self.parsed.keepalive_timeout()

    @property
    def lane(self) -> Lane:
        """The lane of the connection."""
        return cast(Lane, self.scope["extensions"]["pondsocket.fastlane"])

    @property
    def written(self) -> bytes:
        """What was written after the handshake."""
        return b"".join(self.transport.written).partition(b"\r\n\r\n")[2]

    @property
    def texts(self) -> list[str]:
        """The texts that the app has received."""
        return [message["text"] for message in self.received if "text" in message]

    def feed(self, *data: bytes) -> None:
        """Receive bytes of the peer, as long as the transport is open."""
        for chunk in data:
            if not self.transport.is_closing():
                self.protocol.data_received(chunk)

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        assert (await receive())["type"] == "websocket.connect"
        await self._app(self)

    async def listen(self) -> None:
        """Accept, and keep what is received up to the end."""
        await self.send({"type": "websocket.accept"})
        while not self.received or self.received[-1]["type"] != "websocket.disconnect":
            self.received.append(await self.receive())


async def turns(count: int = 10) -> None:
    """Let the event loop make so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)
