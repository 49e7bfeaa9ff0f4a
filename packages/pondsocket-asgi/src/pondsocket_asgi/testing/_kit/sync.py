"""The test kit for plain functions: the app runs in an event loop of its own, in a thread."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal
from pondsocket import ErrorContext, PondSocket
from pondsocket.testing import ConnectionRefused
from pondsocket_common import POND, ClientCodec, Payload, Position, ServerMessage

from pondsocket_asgi.testing._driver import HTTPAnswer
from pondsocket_asgi.testing._running import ASGIApp

from .client import PondClient
from .connected import ConnectedClient
from .errors import CallFailed, JoinRefused
from .faults import Faults
from .joined import JoinedChannel
from .matching import ANYTHING

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


class _Blocking(Generic[C]):
    """An object of the kit, whose methods a plain function can call."""

    __test__ = False

    def __init__(self, portal: BlockingPortal, inner: C) -> None:
        self._portal = portal
        self._inner = inner

    def _run(self, function: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        return self._portal.call(partial(function, *args, **named))


class SyncJoinedChannel(_Blocking[JoinedChannel]):
    """A channel that a client has joined; see `JoinedChannel`."""

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._inner.name

    @property
    def response(self) -> Any:
        """What the join was answered with."""
        return self._inner.response

    @property
    def recovered(self) -> bool:
        """Whether all that the client had missed has come, or is about to."""
        return self._inner.recovered

    @property
    def position(self) -> Position | None:
        """Up to where the client knows the channel's history."""
        return self._inner.position

    @property
    def present(self) -> Mapping[str, list[Payload]]:
        """What each user shows in the channel; see `JoinedChannel.present`."""
        return self._portal.call(lambda: self._inner.present)

    def send(self, event: str, payload: Payload | None = None) -> str:
        """Send an event without waiting for an answer."""
        return self._run(self._inner.send, event, payload)

    def call(self, event: str, payload: Payload | None = None, *, wait: float | None = None) -> Any:
        """Send an event, and return the payload of its answer."""
        return self._run(self._inner.call, event, payload, wait=wait)

    def leave(self, *, wait: float | None = None) -> None:
        """Leave the channel."""
        self._run(self._inner.leave, wait=wait)

    def assert_error(
        self,
        event: str,
        payload: Payload | None = None,
        *,
        code: int | None = None,
        message: str | None = None,
        loc: tuple[str | int, ...] | None = None,
        wait: float | None = None,
    ) -> CallFailed:
        """Send an event, and expect an error."""
        return self._run(
            self._inner.assert_error,
            event,
            payload,
            code=code,
            message=message,
            loc=loc,
            wait=wait,
        )

    def assert_broadcast(
        self,
        event: str,
        payload: object = ANYTHING,
        *,
        match: Payload | None = None,
        wait: float | None = None,
    ) -> ServerMessage:
        """Wait for a broadcast or push in this channel."""
        return self._run(self._inner.assert_broadcast, event, payload, match=match, wait=wait)

    def assert_no_broadcast(
        self, event: str | None = None, *, match: Payload | None = None, wait: float | None = None
    ) -> None:
        """Check that no broadcast is unread, once all is handled."""
        self._run(self._inner.assert_no_broadcast, event, match=match, wait=wait)

    def assert_presence(
        self,
        *,
        joined: str | None = None,
        updated: str | None = None,
        left: str | None = None,
        shown: object = ANYTHING,
        wait: float | None = None,
    ) -> None:
        """Wait until a user is shown, is shown with another object, or is shown no more."""
        self._run(
            self._inner.assert_presence,
            joined=joined,
            updated=updated,
            left=left,
            shown=shown,
            wait=wait,
        )

    def assert_evicted(self, *, reason: str | None = None, wait: float | None = None) -> None:
        """Wait until the server has ended this membership."""
        self._run(self._inner.assert_evicted, reason=reason, wait=wait)


class SyncConnectedClient(_Blocking[ConnectedClient]):
    """One client of an app; see `ConnectedClient`."""

    def __enter__(self) -> Self:
        self._run(self._inner.__aenter__)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._inner.__aexit__, exc_type, exc, traceback)

    @property
    def user_id(self) -> str:
        """The user's id, as the client was told it."""
        return self._inner.user_id

    @property
    def unread(self) -> list[ServerMessage]:
        """What has come and was not asked for, oldest first."""
        return self._portal.call(lambda: self._inner.unread)

    def join(
        self,
        name: str,
        params: Payload | None = None,
        *,
        presence: bool = False,
        since: Position | None = None,
        wait: float | None = None,
    ) -> SyncJoinedChannel:
        """Join a channel; see `ConnectedClient.join`."""
        joined = self._run(
            self._inner.join, name, params, presence=presence, since=since, wait=wait
        )
        return SyncJoinedChannel(self._portal, joined)

    @contextmanager
    def joined(
        self,
        name: str,
        params: Payload | None = None,
        *,
        presence: bool = False,
        since: Position | None = None,
    ) -> Iterator[SyncJoinedChannel]:
        """Connect and join; see `ConnectedClient.joined`."""
        with self:
            yield self.join(name, params, presence=presence, since=since)

    def assert_refused(
        self, *, code: int | None = None, message: str | None = None
    ) -> ConnectionRefused:
        """Connect, and expect a refusal; see `ConnectedClient.assert_refused`."""
        return self._run(self._inner.assert_refused, code=code, message=message)

    def assert_join_refused(
        self,
        name: str,
        params: Payload | None = None,
        *,
        code: int | None = None,
        message: str | None = None,
        wait: float | None = None,
    ) -> JoinRefused:
        """Join a channel, and expect a refusal, which is returned."""
        return self._run(
            self._inner.assert_join_refused, name, params, code=code, message=message, wait=wait
        )

    def send(self, event: str, payload: Payload | None = None) -> str:
        """Send an event to the endpoint itself."""
        return self._run(self._inner.send, event, payload)

    def call(self, event: str, payload: Payload | None = None, *, wait: float | None = None) -> Any:
        """Send an event to the endpoint itself, and return its answer."""
        return self._run(self._inner.call, event, payload, wait=wait)

    def assert_error(
        self,
        event: str,
        payload: Payload | None = None,
        *,
        code: int | None = None,
        message: str | None = None,
        loc: tuple[str | int, ...] | None = None,
        wait: float | None = None,
    ) -> CallFailed:
        """Expect an error from the endpoint itself."""
        return self._run(
            self._inner.assert_error,
            event,
            payload,
            code=code,
            message=message,
            loc=loc,
            wait=wait,
        )

    def assert_push(
        self,
        event: str,
        payload: object = ANYTHING,
        *,
        match: Payload | None = None,
        wait: float | None = None,
    ) -> ServerMessage:
        """Wait for what the endpoint sends outside of channels."""
        return self._run(self._inner.assert_push, event, payload, match=match, wait=wait)

    def assert_no_push(
        self, event: str | None = None, *, match: Payload | None = None, wait: float | None = None
    ) -> None:
        """Check that no push is unread, once all is handled."""
        self._run(self._inner.assert_no_push, event, match=match, wait=wait)

    def assert_closed(
        self, code: int | None = None, *, reason: str | None = None, wait: float | None = None
    ) -> None:
        """Wait until the server has closed the connection."""
        self._run(self._inner.assert_closed, code, reason=reason, wait=wait)

    def lost(self) -> AbstractContextManager[None]:
        """Lose the connection, until the end of the block; see `Faults.lost`."""
        return self._portal.wrap_async_context_manager(Faults().lost(self._inner))

    def cut_mid_frame(self) -> AbstractContextManager[None]:
        """Lose the connection while the next message is on its way; see `Faults.cut_mid_frame`."""
        return self._portal.wrap_async_context_manager(Faults().cut_mid_frame(self._inner))

    def stalled(self) -> AbstractContextManager[None]:
        """Read nothing, until the end of the block; see `Faults.stalled`."""
        return self._portal.wrap_async_context_manager(Faults().stalled(self._inner))

    def slow(self, *, frames: int = 4) -> AbstractContextManager[None]:
        """Read so many messages more, until the end of the block; see `Faults.slow`."""
        return self._portal.wrap_async_context_manager(Faults().slow(self._inner, frames=frames))


class SyncPondClient:
    """Connects clients to an app, for plain functions; the fixture `pond_sync` is one.

    `with SyncPondClient(app) as client:`, or `self.enterContext(…)` in unittest. What a test calls
    by itself, for instance `pond.channel(…).broadcast_nowait(…)`, it calls from another thread.

    Args:
        app: A `PondSocket`, or an ASGI app.
        wait: How many seconds each wait may last.
        expect_errors: Whether handlers may raise. If not, the test gets what they raised.
        root_path: Where the app is mounted, put before every path.
        transport: What `connect` opens: "websocket", or "sse" for an event stream.
        backend: The event loop that the app runs in: "asyncio" or "trio".
    """

    __test__ = False

    def __init__(
        self,
        app: PondSocket | ASGIApp,
        *,
        wait: float = 1.0,
        expect_errors: bool = False,
        root_path: str = "",
        transport: Literal["websocket", "sse"] = "websocket",
        backend: str = "asyncio",
    ) -> None:
        self._client = PondClient(
            app, wait=wait, expect_errors=expect_errors, root_path=root_path, transport=transport
        )
        self._backend = backend
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        self._portal = self._stack.enter_context(start_blocking_portal(self._backend))
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._portal = None
        self._stack.close()
        self._client.close(is_failed=error is not None)

    @property
    def pond(self) -> PondSocket:
        """The pond; see `PondClient.pond`."""
        return self._client.pond

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: Iterable[str] | None = None,
        codec: ClientCodec = POND,
        wait: float | None = None,
    ) -> SyncConnectedClient:
        """Connect a WebSocket; see `PondClient.connect`."""
        client = self._client.connect(
            url, headers=headers, subprotocols=subprotocols, codec=codec, wait=wait
        )
        return SyncConnectedClient(self._opened, client)

    def connect_sse(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        codec: ClientCodec = POND,
        wait: float | None = None,
    ) -> SyncConnectedClient:
        """Connect an event stream; see `PondClient.connect_sse`."""
        client = self._client.connect_sse(url, headers=headers, codec=codec, wait=wait)
        return SyncConnectedClient(self._opened, client)

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes = b"",
    ) -> HTTPAnswer:
        """Make a request to the app."""
        work = partial(self._client.request, method, path, headers=headers, json=json, body=body)
        return self._opened.call(work)

    def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Call an async function in the app's event loop: `client.run(pond.push, "ann", "hi")`."""
        return self._opened.call(partial(function, *args, **named))

    def settle(self, *, wait: float | None = None) -> None:
        """Wait until all that clients have sent is handled."""
        self._opened.call(partial(self._client.settle, wait=wait))

    def expect_errors(self) -> AbstractContextManager[list[ErrorContext]]:
        """Let handlers raise within the block: `with client.expect_errors() as errors:`."""
        return self._client.expect_errors()

    def lifespan(self) -> AbstractContextManager[None]:
        """Run the app's lifespan around the block, as a server does."""
        return self._opened.wrap_async_context_manager(self._client.lifespan())

    @property
    def _opened(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("Open it first: `with SyncPondClient(app) as client:`.")
        return self._portal
