"""A small pond and a driver for it, for every test of the adapter."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import anyio
import pytest
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession

from tests.asgi.asgi_connections import count_resets
from tests.asgi.socket_pairs import connect_pairs
from tests.asgi.uvicorn_connection import LANES, Lanes

Session: TypeAlias = WebSocketSession | SSESession
Interception: TypeAlias = Callable[[Any, Callable[[Any], Awaitable[None]]], Awaitable[None]]

connect = pytest.fixture(connect_pairs)


@pytest.fixture(params=LANES, ids=lambda kind: kind.__name__)
def each_lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with each class of the fast lane."""
    monkeypatch.setattr(Lanes, "kind", request.param)


HTTP_RESPONSE: dict[str, dict[str, Any]] = {"websocket.http.response": {}}


class Pond:
    """A pond that accepts every connection, and what a test needs to look at it.

    Args:
        endpoint: Keywords of `create_endpoint`.
    """

    def __init__(self, options: Options | None = None, **endpoint: Any) -> None:
        self.pond = PondSocket(options=options)
        self.endpoint: Endpoint = self.pond.create_endpoint("/socket", self.on_connect, **endpoint)
        self.lobby = lobby = self.endpoint.create_channel("/chat/:room", self.on_join)
        lobby.on_message("say", self.on_say)
        lobby.on_message("hang", self.on_hang)
        lobby.on_leave(self.on_leave)
        self.app = PondASGIApp(self.pond)
        self.driver = ASGITestDriver(self.app)
        self.contexts: list[ConnectionContext] = []
        self.left: list[str] = []

    async def on_connect(self, ctx: ConnectionContext) -> None:
        self.contexts.append(ctx)
        code = ctx.query.get("decline")
        if code is not None:
            ctx.decline(int(code), ctx.query.get("message", "Not today"))
        elif "crash" in ctx.query:
            raise ValueError("the application's secret")
        elif "silent" not in ctx.query:
            ctx.accept()

    async def on_join(self, ctx: JoinContext) -> None:
        await ctx.accept()

    async def on_say(self, ctx: EventContext) -> None:
        await ctx.broadcast("said", ctx.get_payload())

    async def on_hang(self, ctx: EventContext) -> None:
        await anyio.sleep_forever()

    async def on_leave(self, ctx: LeaveContext) -> None:
        self.left.append(str(ctx.reason))

    async def join_websocket(self) -> WebSocketSession:
        """Connect a WebSocket and join `/chat/1`."""
        session = await self.driver.connect_websocket("/socket")
        await join(session)
        return session

    async def join_sse(self) -> SSESession:
        """Connect an event stream and join `/chat/1`."""
        session = await self.driver.connect_sse("/socket")
        await join(session)
        return session

    async def is_empty(self) -> bool:
        """Whether no client is connected any more."""
        return await self.endpoint.connection_count() == 0


MakePond: TypeAlias = Callable[..., Pond]


@pytest.fixture
def make_pond() -> MakePond:
    """Make a pond, with options where a test needs small ones: `make_pond(outbox_frames=4)`."""

    def make(**options: int | float) -> Pond:
        return Pond(Options(**options) if options else None)  # type: ignore[arg-type]

    return make


@pytest.fixture
def resets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the users whose sockets were to be reset; no socket is, and no send ends by it."""
    return count_resets(monkeypatch)


@pytest.fixture
def pond() -> Pond:
    """Return a pond with the default options."""
    return Pond()


async def join(session: Session, channel_name: str = "/chat/1") -> None:
    """Join a channel and receive everything up to the acknowledgement."""
    await session.send_client_message(
        action="JOIN_CHANNEL", channel_name=channel_name, event="join"
    )
    assert (await session.receive_event_named("ACKNOWLEDGE"))["channelName"] == channel_name


async def say(session: Session, text: str, channel_name: str = "/chat/1") -> str:
    """Broadcast to a channel and return the request id."""
    return await session.send_client_message(
        action="BROADCAST", channel_name=channel_name, event="say", payload={"text": text}
    )


async def overflow(pond: Pond, slow: Session, quick: Session) -> None:
    """Have a member send 20 broadcasts that another one does not read, and that one be ended."""
    slow.stop_reading()
    for number in range(20):
        await say(quick, str(number))
        assert (await quick.receive_event_named("said"))["payload"] == {"text": str(number)}
    assert await pond.endpoint.connection_count() == 1
    slow.resume_reading()


async def expect_aborted(slow: WebSocketSession) -> None:
    """Expect the next message to be the goodbye of a slow consumer, and the end behind it."""
    assert (await slow.receive_json())["payload"]["code"] == 4408
    with pytest.raises(ConnectionError, match="4408"):
        await slow.receive_json()
    await slow.disconnect()


def driver_with(pond: Pond, on_send: Interception) -> ASGITestDriver:
    """Return a driver whose server passes what the app sends through `on_send(message, send)`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await pond.app(scope, receive, lambda message: on_send(message, send))

    return ASGITestDriver(app)
