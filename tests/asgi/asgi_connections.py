"""ASGI connections as a server sees them, under a test's control: any send may be left hanging."""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._transport.heartbeat import Heartbeat
from pondsocket_asgi.testing import virtual_backend
from pondsocket_common import SSEDecoder

Kind = Literal["websocket", "sse"]
KINDS: tuple[Kind, ...] = ("websocket", "sse")
ROOM = "/room/1"


class PondSetup:
    """A pond that accepts every connection and join, and relays the event `say` as `said`."""

    def __init__(self, *, policy: Any = "close", **options: Any) -> None:
        self.pond = PondSocket(options=Options(**options))
        self.endpoint = self.pond.create_endpoint("/socket", self.on_connect)
        self.lobby = self.endpoint.create_channel("/room/:id", self.on_join, slow_consumers=policy)
        self.lobby.on_message("say", self.on_say)
        self.app = PondASGIApp(self.pond, drain_on_signals=False)

    async def on_connect(self, ctx: ConnectionContext) -> None:
        ctx.accept(user_id=ctx.query.get("user"))

    async def on_join(self, ctx: JoinContext) -> None:
        await ctx.accept()

    async def on_say(self, ctx: EventContext) -> None:
        await ctx.broadcast("said", ctx.get_payload())

    async def tell(self, *numbers: int, size: int = 0) -> None:
        """Broadcast each of these numbers to the room, without a turn for any other task."""
        channel = self.pond.channel("/socket", ROOM)
        for number in numbers:
            await channel.broadcast("tick", {"n": number} | ({"x": "x" * size} if size else {}))
            # One by one, as if each were told in a turn of its own.
            self.pond._environment.loop_turn.flush()

    @property
    def heartbeat(self) -> Heartbeat:
        """The clock of this event loop."""
        return self.app._shared.heartbeat

    async def users(self) -> int:
        """How many are in the room."""
        channel = await self.lobby.get_channel(ROOM)
        return 0 if channel is None else await channel.user_count()


class ASGIConnection:
    """One connection as the server sees it.

    Attributes:
        is_trusted: Whether it may be sent to without a writer, which then is there only where a
            send waits; set for all of a test by `loop_of`.
        sent: What the app has sent, as ASGI messages.
        transport: What uvicorn's connections have, where there is one.
        ended: Set when the app has returned.
    """

    is_trusted = False

    def __init__(
        self, setup: PondSetup, kind: Kind, user: str = "ann", *, http_version: str = "1.1"
    ) -> None:
        self.setup = setup
        self._http_version = http_version
        self.kind = kind
        self.transport: object = None
        self.sent: list[Mapping[str, Any]] = []
        self.ended = anyio.Event()
        self.scope = anyio.CancelScope()
        self.error: BaseException | None = None
        self.fault: Exception | None = None
        self.sending = 0
        self.resets = 0
        self._open = anyio.Event()
        self._open.set()
        self._take: Callable[[Mapping[str, Any]], Awaitable[None]] = self.take
        self._coming: deque[Mapping[str, Any]] = deque()
        self._came = anyio.Event()
        self._user = user
        if kind == "websocket":
            self.feed({"type": "websocket.connect"})
        else:
            self.feed({"type": "http.request", "body": b"", "more_body": False})

    # --- the server's side of ASGI ------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection."""
        is_socket = self.kind == "websocket"
        scope = {
            "type": "websocket" if is_socket else "http",
            "method": "GET",
            "http_version": self._http_version,
            "path": "/socket",
            "query_string": b"user=" + self._user.encode(),
            "headers": [(b"host", b"testserver"), (b"accept", b"text/event-stream")],
            "client": (self._user, 1),
        }
        try:
            with self.scope:
                send = self._send_here if self.is_trusted else self._send
                await self.setup.app(scope, self._receive, send)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()

    async def _receive(self) -> Mapping[str, Any]:
        await anyio.lowlevel.checkpoint()
        while not self._coming:
            self._came = anyio.Event()
            await self._came.wait()
        return self._coming.popleft()

    async def _send(self, message: Mapping[str, Any]) -> None:
        self.sending += 1
        try:
            await self._take(message)
        finally:
            self.sending -= 1

    async def _send_here(self, message: Mapping[str, Any]) -> None:
        await self._send(message)

    # The app is to take it for one of our own, which it knows by its module.
    _send_here.__module__ = "pondsocket_asgi.testing"

    async def take(self, message: Mapping[str, Any]) -> None:
        """Do what `send` does, unless the test gives another function to `send_with`."""
        if not self.is_trusted:
            await anyio.lowlevel.checkpoint()
        if not self._open.is_set():
            await self._open.wait()
        if self.fault is not None:
            raise self.fault
        self.sent.append(message)

    def feed(self, message: Mapping[str, Any]) -> None:
        """Receive a message of the peer."""
        self._coming.append(message)
        self._came.set()

    # --- the test's side ----------------------------------------------------------------------

    def send_with(self, take: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Have every send do this, instead of `take`."""
        self._take = take

    def stall(self) -> None:
        """Let every send hang from now on."""
        self._open = anyio.Event()

    def resume(self) -> None:
        """Let the sends that hang, and later ones, go through."""
        self._open.set()

    def fail(self, error: Exception | None = None) -> None:
        """Let every send raise from now on, those that hang included."""
        self.fault = error or OSError("gone")
        self._open.set()

    def leave(self) -> None:
        """Disconnect."""
        kind = "websocket.disconnect" if self.kind == "websocket" else "http.disconnect"
        self.feed({"type": kind})

    async def join(self) -> None:
        """Join the room, without a request's way through the adapter."""
        (session,) = (each for each in self.setup.endpoint.sessions if each.user_id == self._user)
        message = {
            "action": "JOIN_CHANNEL",
            "event": "join",
            "channelName": ROOM,
            "requestId": "1",
            "payload": {},
        }
        assert session.post(json.dumps(message).encode()) is None
        while "ACKNOWLEDGE" not in self.events() and not self.ended.is_set():
            await anyio.lowlevel.checkpoint()

    def bodies(self) -> list[bytes]:
        """Return the chunks of an event stream."""
        return [m["body"] for m in self.sent if m["type"] == "http.response.body"]

    def messages(self) -> list[dict[str, Any]]:
        """Return what a client has received, in order."""
        if self.kind == "websocket":
            texts = [m["text"] for m in self.sent if m["type"] == "websocket.send"]
        else:
            decoder = SSEDecoder()
            texts = [event.data for body in self.bodies() for event in decoder.feed(body)]
        return [json.loads(text) for text in texts]

    def events(self) -> list[str]:
        """Return the names of what a client has received, in order."""
        return [message["event"] for message in self.messages()]

    def numbers(self) -> list[int]:
        """Return the numbers that a client was told."""
        return [m["payload"]["n"] for m in self.messages() if m["event"] == "tick"]

    def goodbyes(self) -> list[int]:
        """Return the codes of the goodbyes that a client has received."""
        return [m["payload"]["code"] for m in self.messages() if m["event"] == "GOODBYE"]

    @property
    def is_closed(self) -> bool:
        """Whether the app has closed the connection in order."""
        if not self.sent:
            return False
        last = self.sent[-1]
        if self.kind == "websocket":
            return bool(last["type"] == "websocket.close")
        return last["type"] == "http.response.body" and not last["more_body"]


# asyncio twice: sends are made by a writer task, or by the sender itself.
LOOPS = ("asyncio", "stepped", "trio")


def loop_of(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """Return one of `LOOPS`, whose time jumps: ten seconds of hanging take none."""
    if name == "stepped":
        monkeypatch.setattr(ASGIConnection, "is_trusted", True)
        name = "asyncio"
    return virtual_backend(name)


@pytest.fixture(params=LOOPS)
def connection_loops(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Any]:
    """Run a module's tests on each of `LOOPS`, as its `anyio_backend`."""
    return loop_of(request.param, monkeypatch)


async def turns(count: int = 30) -> None:
    """Let other tasks run, without any time passing."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def count_resets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have no socket be reset; return the list of the users for which it was asked."""
    asked: list[str] = []

    async def reset_connection(scope: Any) -> bool:
        asked.append(scope["client"][0])
        await anyio.lowlevel.checkpoint()
        return False

    monkeypatch.setattr("pondsocket_asgi._transport.peer_socket.reset_connection", reset_connection)
    return asked


def count_hurries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the kernel hurry no connection; return the list of the users that it was asked for."""
    asked: list[str] = []

    async def hurry_connection(scope: Any) -> bool:
        asked.append(scope["client"][0])
        return True

    monkeypatch.setattr("pondsocket_asgi._transport.peer_socket.hurry_connection", hurry_connection)
    return asked


@asynccontextmanager
async def members(
    setup: PondSetup,
    kind: Kind,
    *users: str,
    make_transport: Callable[[ASGIConnection], object] | None = None,
) -> AsyncIterator[list[ASGIConnection]]:
    """Yield connections that have joined; those that are left at the end are closed."""
    connections = [ASGIConnection(setup, kind, user) for user in users]
    if make_transport is not None:
        for connection in connections:
            connection.transport = make_transport(connection)
    async with anyio.create_task_group() as tasks:
        for connection in connections:
            tasks.start_soon(connection.run)
            while "CONNECTION" not in connection.events():
                await anyio.lowlevel.checkpoint()
            await connection.join()
        yield connections
        for connection in connections:
            connection.resume()
            connection.leave()
    assert not setup.heartbeat._beating
    assert setup.heartbeat._host is None


@asynccontextmanager
async def overrun_member(kind: Kind) -> AsyncIterator[tuple[PondSetup, ASGIConnection]]:
    """Yield a member whose write hangs, with more to send than its outbox of four frames holds."""
    setup = PondSetup(outbox_frames=4)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(0)
        await turns()
        await setup.tell(*range(1, 6))
        yield setup, ann
