"""The client of a program that runs on asyncio or trio."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final, Self, assert_never

import anyio
import anyio.lowlevel
import httpx2
from pondsocket_common import GATEWAY, is_channel_name

from pondsocket_asgi.client._machine.connection import late, stopped_by
from pondsocket_asgi.client._machine.machine import Machine
from pondsocket_asgi.client._machine.values import (
    Changed,
    Failed,
    Gap,
    Joined,
    Over,
    RoomEvent,
    State,
    Status,
    Tell,
    TransportName,
)

from ._buffer import DEFAULT_BUFFER, Buffer
from ._driver import Driver, logger
from ._memory import ASGIApp, in_memory
from ._room import TIMEOUT_SECONDS, Room, Sendable, Sender, plain_payload
from ._targets import Params, Targets, Token
from ._transports import HttpTransports, Transports

# An event stream opens wherever HTTP does, so none comes after it.
_TRANSPORTS: Final = (("websocket",), ("sse",), ("websocket", "sse"))


class Client(Sender):
    """A connection to an endpoint that lasts: it is made again whenever it is lost.

    `async with Client(url) as pond` begins to connect, and goes on at once: what needs the
    connection waits for it. `async for message in pond` yields the events of the endpoint itself.

    Args:
        url: The endpoint's address; of an `app` its path is enough.
        params: Of the query; or a function that returns them, called for every attempt.
        token: A bearer token; or a function that returns one, called with the reason at the first
            attempt, and once after each refusal of the last one. It is sent in a header.
        headers: Further headers of every request.
        transports: Those that may be used: `["websocket"]`, `["sse"]` or both, in this order. The
            second is used where WebSockets do not open.
        http: The httpx2 client to use, with its proxies, certificates, cookies and so on; it is not
            closed, and its timeouts are not used. None: one of its own.
        app: An ASGI app, to connect to in memory.
        buffer: How many events of one channel may wait for a reader. A channel whose reader is
            slower is left, and joined again from there when the reader has read them, or before
            the next call or send on it.
        on_status: Called with each new status.
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
        if tuple(transports) not in _TRANSPORTS:
            raise ValueError(f"Transports are 'websocket', 'sse' or both, not {transports!r}.")
        targets = Targets(url, params, token, headers, is_in_memory=app is not None)
        machine = self._new_machine(transports, has_token=targets.makes_tokens)
        super().__init__(Driver(machine, targets.make, self._told), GATEWAY)
        self._http = http
        self._app = app
        self._buffer = buffer
        self._on_status = on_status
        self._rooms: dict[str, Room] = {}
        self._life: AbstractAsyncContextManager[None] | None = None
        self._has_changed = anyio.Event()
        self._unread: Buffer[RoomEvent] = Buffer(buffer, Gap(GATEWAY))

    # Tests have others of both.

    def _new_machine(self, transports: Sequence[TransportName], *, has_token: bool) -> Machine:
        return Machine(transports, has_token=has_token)

    @asynccontextmanager
    async def _new_transports(self) -> AsyncIterator[Transports]:
        if self._app is not None:
            async with in_memory(self._app) as transports:
                yield transports
        elif self._http is not None:
            yield HttpTransports(self._http)
        else:
            async with httpx2.AsyncClient(timeout=None) as http:
                yield HttpTransports(http)

    # --- its life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin to connect.

        Raises:
            RuntimeError: It has been entered before.
        """
        if self._life is not None:
            raise RuntimeError("A client is entered once; make another one.")
        self._life = self._live()
        await self._life.__aenter__()
        self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close, and wait until all of it has ended."""
        if self._life is None:
            raise RuntimeError("It was not entered.")
        try:
            return await self._life.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # What the block has raised goes on by itself, and another error by its own name.
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup) and error is not exc:
                if len(error.exceptions) != 1:
                    break
                (error,) = error.exceptions
            if error is exc:
                return False
            raise error from error.__cause__

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        async with self._new_transports() as transports, anyio.create_task_group() as tasks:
            await tasks.start(self._driver.run, transports)
            try:
                yield
                await self.close()
            finally:
                self._driver.machine.close()
                self._driver.perform()
                tasks.cancel_scope.cancel()

    def connect(self) -> None:
        """Connect again after `close`, or after the server has refused the client for good."""
        self._driver.machine.connect(anyio.current_time())
        for room in self._rooms.values():
            room.buffer.begin_anew()
        self._unread.begin_anew()
        self._driver.perform()

    async def close(self) -> None:
        """Close the connection until `connect`.

        Channels stay joined in intent: `connect` joins them again, from where they were.
        """
        self._driver.machine.close()
        self._driver.perform()
        await anyio.lowlevel.checkpoint()

    @property
    def status(self) -> Status:
        """What the connection is doing."""
        return self._driver.machine.connection.status

    @property
    def id(self) -> str | None:
        """The public id of the user, as the server has said it last."""
        connected = self._driver.machine.connected
        return None if connected is None else connected.id

    async def wait_open(self, *, timeout: float | None = TIMEOUT_SECONDS) -> None:
        """Wait until the connection is open.

        Raises:
            PondClientError: The server has refused it for good, or the client is closed.
            TimeoutError: It is not open in time; the client goes on trying.
        """
        with anyio.move_on_after(timeout):
            while not self._driver.machine.connection.is_open:
                if self.status.state is State.STOPPED:
                    raise stopped_by(self.status)
                await self._has_changed.wait()
            return
        raise late("The connection was not open in time", self.status)

    # --- channels ---------------------------------------------------------------------------

    async def join(
        self,
        name: str,
        params: Sendable | None = None,
        *,
        presence: bool = False,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> Room:
        """Join a channel. Any number of joins of one channel are one membership, and one `Room`.

        Args:
            params: What the join handler gets.
            presence: Whether to follow who is there.
            timeout: Seconds; None: no limit.

        Raises:
            PondClientError: It was refused.
            TimeoutError: It was not answered in time.
            ValueError: No channel can have this name.
        """
        if not is_channel_name(name):
            raise ValueError(f"No name of a channel: {name!r}.")
        memberships = self._driver.machine.memberships
        ticket = memberships.join(
            anyio.current_time(),
            name,
            plain_payload(params),
            presence=presence,
            seconds=float("inf") if timeout is None else timeout,
        )
        channel = memberships.channels[name]
        room = self._rooms.get(name)
        if room is None or not room.is_of(channel):
            room = self._rooms[name] = Room(self._driver, channel, self._buffer)
        await self._driver.answer(ticket)
        return room

    def room(self, name: str) -> Room:
        """Return the room of a channel that is joined, or is being joined.

        Raises:
            KeyError: The application has not joined it.
        """
        return self._rooms[name]

    def __aiter__(self) -> AsyncIterator[RoomEvent]:
        """Return the events of the endpoint itself, to one reader at a time.

        If too many wait, all that wait are dropped, and a `Gap` stands in their place.
        """
        return aiter(self._unread)

    # --- what the machine tells -------------------------------------------------------------

    def _told(self, effect: Joined | Tell | Failed | Over | Changed) -> None:
        match effect:
            case Tell(channel_name, event):
                room = self._rooms.get(channel_name)
                if channel_name == GATEWAY:
                    self._unread.put(event)
                elif room is not None:
                    room.buffer.put(event)
            case Over(channel_name, error):
                room = self._rooms.pop(channel_name, None)
                if room is not None:
                    room.buffer.end(error)
            case Failed(channel_name, error):
                logger.warning("An event to %s was refused: %s", channel_name, error)
            case Changed(status):
                self._changed(status)
            case Joined():
                pass
            case _:
                assert_never(effect)

    def _changed(self, status: Status) -> None:
        self._has_changed.set()
        self._has_changed = anyio.Event()
        if status.state is State.STOPPED:
            error = stopped_by(status) if status.code or status.reason else None
            for buffer in (self._unread, *(room.buffer for room in self._rooms.values())):
                buffer.end(error)
        if self._on_status is not None:
            try:
                self._on_status(status)
            except Exception:  # noqa: BLE001 - the application's; the connection goes on
                logger.exception("on_status has failed.")
