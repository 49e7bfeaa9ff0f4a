"""What a program does with the endpoint and with a channel that it has joined."""

from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from threading import get_ident
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar, cast, overload

import anyio
from pondsocket_common import (
    Position,
    PresenceEntry,
    dump_json,
    is_name,
    load_json,
)
from pydantic import BaseModel, TypeAdapter

from pondsocket_asgi.client._machine.channel import Channel, ChannelState
from pondsocket_asgi.client._machine.errors import LEFT, UNSENT, PondClientError
from pondsocket_asgi.client._machine.values import Gap, RoomEvent

from ._buffer import Buffer
from ._driver import OUTBOX_MESSAGES, Driver

T = TypeVar("T")

# A dataclass, which has no base class.
Sendable: TypeAlias = Mapping[str, Any] | BaseModel | object
"""A payload: a mapping, a pydantic model or a dataclass, whose JSON is an object."""

TIMEOUT_SECONDS: Final = 10.0


class Sender:
    """Sends events: to the endpoint itself, or to a channel."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self._name = name

    @overload
    async def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> dict[str, Any]: ...

    @overload
    async def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: type[T],
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> T: ...

    async def call(
        self,
        event: str,
        payload: Sendable | None = None,
        *,
        returns: type[T] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        queue: bool = True,
    ) -> T | dict[str, Any]:
        """Send an event and return the answer: `{}` where the handler gives none.

        Args:
            returns: The type of the answer; it is validated by pydantic.
            timeout: Seconds; None: no limit.
            queue: Whether the event may wait for the connection and for the join.

        Raises:
            PondClientError: The server has refused it, or there was no connection to it.
            TimeoutError: No answer came in time; it may have been handled.
            pydantic.ValidationError: The answer does not fit `returns`.
        """
        body = _checked(event, payload)
        if self._driver.outbox.is_full:
            raise PondClientError(UNSENT, f"{OUTBOX_MESSAGES} messages are waiting already")
        now = anyio.current_time()
        seconds = float("inf") if timeout is None else timeout
        ticket, _ = self._driver.machine.emit(
            now, self._name, event, body, seconds=seconds, may_wait=queue
        )
        answer: dict[str, Any] = await self._driver.answer(ticket)
        return (
            answer
            if returns is None
            else cast(T, _adapter(cast(Hashable, returns)).validate_python(answer))
        )

    async def send(
        self, event: str, payload: Sendable | None = None, *, queue: bool = True
    ) -> bool:
        """Send an event that wants no answer. Returns when the connection has taken it.

        Args:
            queue: Whether it may wait for the connection and for the join, for 30 s at most.

        Returns:
            Whether it was handed over or queued. False: it cannot wait, too much waits already,
            or the connection ended before it was written.
        """
        body = _checked(event, payload)
        if self._driver.outbox.is_full:
            return False
        now = anyio.current_time()
        _, is_taken = self._driver.machine.emit(now, self._name, event, body, may_wait=queue)
        return await self._driver.written() and is_taken


class Room(Sender):
    """A channel that the client has joined.

    `async for event in room` yields what comes: `Message`, `Gap`, and with `presence=True`
    `PresenceDiff`. The loop ends when the channel is left; it raises `PondClientError` when the
    member was evicted, or is refused at a rejoin. A loop that is left early leaves the channel.
    """

    def __init__(self, driver: Driver, channel: Channel, limit: int) -> None:
        super().__init__(driver, channel.name)
        self._channel = channel
        self._thread = get_ident()
        self.buffer: Buffer[RoomEvent] = Buffer(
            limit,
            Gap(channel.name),
            full=self._pause,
            empty=self._resume,
            abandoned=self._abandon,
        )

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._name

    @property
    def state(self) -> ChannelState:
        """What the client is in the channel now."""
        if self._is_current():
            return self._driver.machine.memberships.state_of(self._name)
        return self._channel.state

    @property
    def response(self) -> Any:
        """What the join handler gave at the last join; None: nothing."""
        return self._channel.response

    @property
    def position(self) -> Position | None:
        """The last position in the channel's history that has come."""
        return self._channel.position

    @property
    def presence(self) -> Mapping[str, PresenceEntry]:
        """The presence of all members, by ref; empty without `presence=True`."""
        return MappingProxyType(self._channel.people)

    def __aiter__(self) -> AsyncIterator[RoomEvent]:
        """Return what comes, in order, to one reader at a time."""
        return aiter(self.buffer)

    async def receive(self, *, timeout: float | None = None) -> RoomEvent:
        """Return the next that comes, and stay in the channel.

        Args:
            timeout: Seconds; None: no limit.

        Raises:
            PondClientError: The channel has ended, or was left.
            TimeoutError: Nothing came in time.
        """
        try:
            with anyio.fail_after(timeout):
                return await self.buffer.receive()
        except StopAsyncIteration:
            raise PondClientError(LEFT, "the channel was left") from None

    async def leave(self, *, timeout: float | None = TIMEOUT_SECONDS) -> None:
        """Leave the channel, once for every `join`. Returns when the server has answered.

        It has left even if the server refuses, or the connection ends meanwhile.

        Raises:
            TimeoutError: It was not answered in time; it has left nevertheless.
        """
        seconds = float("inf") if timeout is None else timeout
        memberships = self._driver.machine.memberships
        if memberships.channels.get(self._name) is self._channel:
            ticket = memberships.leave(anyio.current_time(), self._name, seconds=seconds)
            await self._driver.answer(ticket)

    async def __aenter__(self) -> Self:
        """Return the room, which is left with the block."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the channel."""
        await self.leave()

    def _pause(self) -> None:
        self._driver.machine.memberships.pause(self._name)

    def _resume(self) -> None:
        if self._is_current():
            self._driver.machine.memberships.resume(self._name)
            self._driver.perform()

    def _abandon(self) -> None:
        # A cycle of objects may be collected in another thread, or when all is over.
        if self._is_current() and self._driver.is_running and get_ident() == self._thread:
            self._driver.machine.memberships.leave(
                anyio.current_time(), self._name, seconds=TIMEOUT_SECONDS, wholly=True
            )
            self._driver.perform()

    def is_of(self, channel: Channel | None) -> bool:
        """Whether it shows this membership, and not an earlier one of the same name."""
        return self._channel is channel

    def _is_current(self) -> bool:
        return self.is_of(self._driver.machine.memberships.channels.get(self._name))


def _checked(event: str, payload: Sendable | None) -> dict[str, Any]:
    if not is_name(event):
        raise ValueError(f"An event's name has 1 to 255 characters, not {event!r}.")
    return plain_payload(payload)


def plain_payload(payload: Sendable | None) -> dict[str, Any]:
    """Return a payload as a JSON object.

    Raises:
        EncodingError: JSON has no form for it.
        TypeError: It is no object.
    """
    if payload is None:
        return {}
    is_object = isinstance(payload, Mapping | BaseModel) or (
        is_dataclass(payload) and not isinstance(payload, type)
    )
    if not is_object:
        raise TypeError(f"A payload is a mapping, a model or a dataclass, not {payload!r}.")
    # Here, so that the caller gets the error; and the caller may change the mapping afterwards.
    return cast(dict[str, Any], load_json(dump_json(payload)))


@lru_cache(maxsize=256)
def _adapter(returns: Hashable) -> TypeAdapter[Any]:
    kind: Any = returns
    return TypeAdapter(kind)
