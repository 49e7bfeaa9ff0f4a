"""A channel in memory whose clients cost almost nothing, with the core only or the adapter too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

from pondsocket import Channel, ConnectRequest, Headers, Lobby, Options, PondSocket, QueryParams
from pondsocket.adapter import Frame, Session
from pondsocket_asgi import PondASGIApp
from pondsocket_common import ClientActions, ClientMessage, encode_client

from tests.benchmarks._outlets import EndlessOutlet
from tests.benchmarks.apps.pond import admit, build, enter, handle

ROOM: Final = "/room/1"
PAYLOAD: Final = {"text": "x" * 88}


class Peer(EndlessOutlet):
    """A client that sends texts from a list and counts what it receives."""

    def __init__(self) -> None:
        self.heard = 0
        self._said: Iterator[str] = iter(())
        self._more = asyncio.Event()
        self._silent = asyncio.Event()

    async def say(self, *texts: str) -> None:
        """Send the texts, and wait until the server asks for more."""
        self._said = iter(texts)
        self._silent.clear()
        self._more.set()
        await self._silent.wait()

    # --- for the core (Outlet, and the `pull` of Session.run) ---------------------------------

    async def pull(self) -> str:
        """Return the client's next text."""
        while (text := next(self._said, None)) is None:
            self._silent.set()
            self._more.clear()
            await self._more.wait()
        return text

    def offer(self, frame: Frame) -> bool:
        """Count a frame."""
        self.heard += 1
        return True

    # --- for the adapter (ASGI) ---------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """Return the client's next text as an ASGI message."""
        return {"type": "websocket.receive", "text": await self.pull()}

    async def send(self, message: dict[str, Any]) -> None:
        """Count a message, like a server whose sockets are always ready."""
        self.heard += 1


class Room(NamedTuple):
    """A channel and its members."""

    channel: Channel
    peers: list[Peer]


RoomOf: TypeAlias = Callable[[int], AbstractAsyncContextManager[Room]]


def text_of(action: ClientActions, event: str) -> str:
    """Encode a client's message; a broadcast has about 200 bytes, half of them payload."""
    payload = PAYLOAD if action is ClientActions.BROADCAST else {}
    return encode_client(ClientMessage(action, event, ROOM, "0" * 32, payload)).decode()


async def admitted(pond: PondSocket) -> Session:
    """Connect, and return the new session."""
    headers = Headers([("host", "127.0.0.1"), ("upgrade", "websocket")])
    outcome = await pond.connect(
        ConnectRequest("/socket", headers, QueryParams(), "127.0.0.1", "websocket")
    )
    assert isinstance(outcome, Session)
    return outcome


def limited(options: Options) -> tuple[PondSocket, Lobby]:
    """Make the benchmark's pond with other limits."""
    pond = PondSocket(options=options)
    endpoint = pond.create_endpoint("/socket", admit)
    return pond, handle(endpoint.create_channel("/room/:room_id", enter))


@asynccontextmanager
async def in_core(members: int) -> AsyncIterator[Room]:
    """Provide a channel whose members are sessions without a transport."""
    pond, lobby = build()
    peers = [Peer() for _ in range(members)]
    runs = [(await admitted(pond)).run(peer, peer.pull) for peer in peers]
    async with _joined(peers, runs):
        channel = await lobby.get_channel(ROOM)
        assert channel is not None
        yield Room(channel, peers)


@asynccontextmanager
async def in_app(members: int, options: Options | None = None) -> AsyncIterator[Room]:
    """Provide a channel whose members are WebSockets of the ASGI app; `options` sets limits."""
    pond, lobby = build() if options is None else limited(options)
    app = PondASGIApp(pond)
    peers = [Peer() for _ in range(members)]
    runs = [app(_scope(), _connecting(peer), peer.send) for peer in peers]
    async with _joined(peers, runs):
        channel = await lobby.get_channel(ROOM)
        assert channel is not None
        yield Room(channel, peers)


@asynccontextmanager
async def _joined(peers: list[Peer], runs: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(run) for run in runs]
        for peer in peers:
            await peer.say(text_of(ClientActions.JOIN_CHANNEL, "join"))
        yield
        for task in running:
            task.cancel()


def _scope() -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1"), (b"upgrade", b"websocket")]
    return {"type": "websocket", "path": "/socket", "headers": headers, "query_string": b""}


def _connecting(peer: Peer) -> Callable[[], Awaitable[dict[str, Any]]]:
    is_first = True

    async def receive() -> dict[str, Any]:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "websocket.connect"}
        return await peer.receive()

    return receive
