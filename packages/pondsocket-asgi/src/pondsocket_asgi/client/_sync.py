"""The same client for programs without an event loop: its loop runs in a thread of its own."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pondsocket_common import Position, PresenceEntry

from pondsocket_asgi.client._machine.channel import ChannelState
from pondsocket_asgi.client._machine.values import RoomEvent, Status, TransportName

from ._buffer import DEFAULT_BUFFER
from ._client import Client
from ._memory import ASGIApp
from ._room import TIMEOUT_SECONDS, Room, Sendable, Sender
from ._targets import Params, Token

T = TypeVar("T")


class SyncSender:
    """Sends events: to the endpoint itself, or to a channel."""

    def __init__(self, sender: Sender, portal: BlockingPortal | None) -> None:
        self._sender = sender
        self._portal = portal

    def _run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call a function in the client's thread."""
        if self._portal is None:
            raise RuntimeError("Use it in `with SyncClient(…) as pond`.")
        return self._portal.call(function)

    @overload
    def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> dict[str, Any]: ...

    @overload
    def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: type[T],
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> T: ...

    def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: type[T] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> T | dict[str, Any]:
        """Send an event and return the answer; see `Client.call`."""
        call = partial(self._sender.call, event, payload, timeout=timeout, queue=queue)
        return self._run(call if returns is None else partial(call, returns=returns))

    def send(self, event: str, payload: Sendable | None = None, *, queue: bool = True) -> bool:
        """Send an event that wants no answer; see `Client.send`."""
        return self._run(partial(self._sender.send, event, payload, queue=queue))


class SyncRoom(SyncSender):
    """A channel that the client has joined; see `Room`.

    `for event in room` yields what comes. A loop that is left early leaves the channel.
    """

    def __init__(self, room: Room, portal: BlockingPortal | None) -> None:
        super().__init__(room, portal)
        self._room = room

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._room.name

    @property
    def state(self) -> ChannelState:
        """What the client is in the channel now."""
        return self._room.state

    @property
    def response(self) -> Any:
        """What the join handler gave at the last join; None: nothing."""
        return self._room.response

    @property
    def position(self) -> Position | None:
        """The last position in the channel's history that has come."""
        return self._room.position

    @property
    def presence(self) -> Mapping[str, PresenceEntry]:
        """The presence of all members at this moment, by ref."""
        return self._run(self._people)

    async def _people(self) -> dict[str, PresenceEntry]:
        return dict(self._room.presence)

    def __iter__(self) -> Iterator[RoomEvent]:
        """Return what comes, in order, to one reader at a time."""
        while (event := self._run(self._next)) is not None:
            try:
                yield event
            except GeneratorExit:
                # A loop that an error has left is often collected after the client has closed.
                with suppress(RuntimeError):
                    self.leave()
                raise

    async def _next(self) -> RoomEvent | None:
        try:
            return await self._room.buffer.receive()
        except StopAsyncIteration:
            return None

    def receive(self, *, timeout: float | None = None) -> RoomEvent:
        """Return the next that comes, and stay in the channel; see `Room.receive`."""
        return self._run(partial(self._room.receive, timeout=timeout))

    def leave(self, *, timeout: float | None = TIMEOUT_SECONDS) -> None:
        """Leave the channel; see `Room.leave`."""
        self._run(partial(self._room.leave, timeout=timeout))

    def __enter__(self) -> Self:
        """Return the room, which is left with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the channel."""
        self.leave()


class SyncClient(SyncSender):
    """A `Client` whose methods block.

    Args:
        url: The endpoint's address; of an `app` its path is enough.
        params, token, headers, transports, http, app, buffer, on_status: As those of `Client`.
            Functions are called in the client's thread.
    """

    def __init__(
        self,
        url: str,
        *,
        params: Params | None = None,
        token: Token = None,
        headers: Mapping[str, str] | None = None,
        transports: Sequence[TransportName] = ("websocket", "sse"),
        http: httpx2.AsyncClient | None = None,
        app: ASGIApp | None = None,
        buffer: int = DEFAULT_BUFFER,
        on_status: Callable[[Status], object] | None = None,
    ) -> None:
        self._client = Client(
            url,
            params=params,
            token=token,
            headers=headers,
            transports=transports,
            http=http,
            app=app,
            buffer=buffer,
            on_status=on_status,
        )
        self._stack: ExitStack | None = None
        super().__init__(self._client, None)

    def __enter__(self) -> Self:
        """Start the thread, and begin to connect.

        Raises:
            RuntimeError: It has been entered before.
        """
        if self._stack is not None:
            raise RuntimeError("A client is entered once; make another one.")
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal(name="pondsocket client"))
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, and wait until the thread has ended."""
        if self._stack is None:
            raise RuntimeError("It was not entered.")
        # Without the error: it is this thread's, and none of the other one's tasks.
        self._stack.close()

    @property
    def status(self) -> Status:
        """What the connection is doing."""
        return self._client.status

    @property
    def id(self) -> str | None:
        """The public id of the user, as the server has said it last."""
        return self._client.id

    def connect(self) -> None:
        """Connect again; see `Client.connect`."""
        self._run(self._connect)

    async def _connect(self) -> None:
        self._client.connect()

    def close(self) -> None:
        """Close the connection until `connect`."""
        self._run(self._client.close)

    def wait_open(self, *, timeout: float | None = TIMEOUT_SECONDS) -> None:
        """Wait until the connection is open; see `Client.wait_open`."""
        self._run(partial(self._client.wait_open, timeout=timeout))

    def join(
        self,
        name: str,
        params: Sendable | None = None,
        *,
        presence: bool = False,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> SyncRoom:
        """Join a channel; see `Client.join`."""
        join = partial(self._client.join, name, params, presence=presence, timeout=timeout)
        return SyncRoom(self._run(join), self._portal)

    def __iter__(self) -> Iterator[RoomEvent]:
        """Return the events of the endpoint itself; see `Client`."""
        while True:
            event = self._run(self._next)
            if event is None:
                return
            yield event

    async def _next(self) -> RoomEvent | None:
        return await anext(aiter(self._client), None)
