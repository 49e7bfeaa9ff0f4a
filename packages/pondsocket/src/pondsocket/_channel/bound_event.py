"""An outgoing event of a lobby: callable from anywhere, with the name of a channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from pondsocket_common import Payload

from pondsocket._errors import UsageError
from pondsocket._state.named_event import Event
from pondsocket._state.user import UserId, as_user_ids

from .channel import Channel

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
P = ParamSpec("P")

# How calls begin, for errors.
_BROADCAST: Final = "await news(channel, "
_PUSH: Final = "news.push(ctx.connection)("

_Find: TypeAlias = Callable[[str, str | None, str], Channel]


class Pushes(Protocol):
    """One connection, to which events are pushed."""

    def push(self, event: str, payload: object, *, channel: str | None = None) -> bool:
        """Send an event to this connection. False once it has ended."""
        ...


class _Broadcasts(ABC, Generic[T, P]):
    """What broadcasts an event in the channel that a call names."""

    __slots__ = ()

    @overload
    async def __call__(
        self, channel: str, payload: T, /, *, path: str | None = None, history: bool = True
    ) -> None: ...
    @overload
    async def __call__(self, channel: str, /, *args: P.args, **fields: P.kwargs) -> None: ...
    # With these two the fields are checked at run time alone: there is no name for such a type.
    @overload
    async def __call__(
        self, channel: str, /, *, path: str | None, history: bool = True, **fields: Any
    ) -> None: ...
    @overload
    async def __call__(
        self, channel: str, /, *, path: str | None = None, history: bool, **fields: Any
    ) -> None: ...
    async def __call__(  # type: ignore[misc]  # of a type with a field called `path` or `history`
        self,
        channel: str,
        /,
        *payload: Any,
        path: str | None = None,
        history: bool = True,
        **fields: Any,
    ) -> None:
        """Validate a payload, and send it to the members of a channel.

        Args:
            channel: The channel's name.
            payload: The payload. Or give its fields by name, in its place.
            path: The path that the channel's clients connect to. To be given if the endpoint's
                pattern has parameters, because each path has channels of its own.
            history: Whether the channel's history, if it has one, keeps the event.
            fields: The fields, by the names that the type's own constructor takes. A field that is
                called `path` or `history` needs a payload.

        Raises:
            EncodingError: The payload does not fit the event.
            UsageError: The lobby is part of no endpoint, does not serve the channel, or needs a
                path; or the call is not made in the pond's event loop.
        """
        await self._broadcast(channel, path, given(payload, fields), history)

    @abstractmethod
    async def _broadcast(
        self, channel: str, path: str | None, value: object, history: bool
    ) -> None: ...


class BoundEvent(Event[T], _Broadcasts[T, P]):
    """An outgoing event of a lobby: `await news("/chat/42", text="hi")`. Made by `Lobby.event`.

    It is an `Event`, too: `ctx.broadcast(news, News(text="hi"))` sends it to the handler's channel.
    """

    __slots__ = ("_find",)

    def __init__(self, name: str, payload_type: Any, find: _Find) -> None:
        super().__init__(name, payload_type)
        self._find = find

    async def _broadcast(
        self, channel: str, path: str | None, value: object, history: bool
    ) -> None:
        shown = self.as_payload(value)
        await self._find(channel, path, self.name).broadcast(self.name, shown, history=history)

    def to(self, *user_ids: UserId) -> AddressedEvent[T, P]:
        """Address it to users: `await news.to("ann", "bob")("/chat/42", text="hi")`.

        Raises:
            UsageError: One of the ids is neither a valid text nor an int.
        """
        return AddressedEvent(self, self._find, as_user_ids(user_ids))

    def push(self, connection: Pushes, *, channel: str | None = None) -> PushedEvent[T, P]:
        """Address it to one connection: `news.push(connection)(text="hi")`.

        Args:
            channel: The channel that the client is told; None: the endpoint itself.

        Raises:
            UsageError: It is no connection, such as `ctx.connection`.
        """
        push = getattr(connection, "push", None)
        if push is None or iscoroutinefunction(push):  # a user's id, or a context
            raise UsageError(
                f"An event is pushed to a connection, `{_PUSH}…)`, not to"
                f" {type(connection).__name__}; to a user, `await pond.push(user_id, news, …)`."
            )
        return PushedEvent(self, connection, channel)


class AddressedEvent(_Broadcasts[T, P]):
    """A bound event for some users. Made by `BoundEvent.to`."""

    __slots__ = ("_event", "_find", "_user_ids")

    def __init__(self, event: Event[T], find: _Find, user_ids: tuple[str, ...]) -> None:
        self._event = event
        self._find = find
        self._user_ids = user_ids

    async def _broadcast(
        self, channel: str, path: str | None, value: object, history: bool
    ) -> None:
        name, shown = self._event.name, self._event.as_payload(value)
        found = self._find(channel, path, name)
        await found.broadcast_to(name, shown, *self._user_ids, history=history)


class PushedEvent(Generic[T, P]):
    """A bound event for one connection. Made by `BoundEvent.push`."""

    __slots__ = ("_channel", "_connection", "_event")

    def __init__(self, event: Event[T], connection: Pushes, channel: str | None) -> None:
        self._event = event
        self._connection = connection
        self._channel = channel

    @overload
    def __call__(self, payload: T, /) -> bool: ...
    @overload
    def __call__(self, /, *args: P.args, **fields: P.kwargs) -> bool: ...
    def __call__(self, /, *payload: Any, **fields: Any) -> bool:
        """Validate a payload, or its fields, and push it. False once the connection has ended.

        Raises:
            EncodingError: The payload does not fit the event.
        """
        shown = self._event.as_payload(given(payload, fields, _PUSH))
        return self._connection.push(self._event.name, shown, channel=self._channel)


def given(payload: tuple[object, ...], fields: Payload, call: str = _BROADCAST) -> object:
    """Return the payload of a call: the one that is given whole, or else its fields.

    Args:
        call: How such a call begins, for the error.

    Raises:
        UsageError: Both are given, or several payloads.
    """
    if len(payload) == 1 and not fields:
        return payload[0]
    if payload:
        raise UsageError(
            f"An event takes one payload, or its fields by name: `{call}payload)` or"
            f' `{call}text="hi")`.'
        )
    return fields


class BindsEvents(ABC):
    """The base class of lobbies, which make bound events."""

    @abstractmethod
    def _find_to_send(self, name: str, path: str | None, event: str) -> Channel:
        """Return the channel of a name and a path, to send this event to it."""

    @overload
    def event(self, name: str, payload_type: type[dict[K, V]]) -> BoundEvent[dict[K, V], ...]: ...
    @overload
    def event(self, name: str, payload_type: Callable[P, T]) -> BoundEvent[T, P]: ...
    @overload
    def event(self, name: str, payload_type: Any) -> BoundEvent[Any, ...]: ...
    def event(self, name: str, payload_type: Any) -> BoundEvent[Any, ...]:
        """Name and type an outgoing event, to send it from anywhere to this lobby's channels.

        The lobby may become part of an endpoint later, before the first call.

        Raises:
            UsageError: The name is reserved or not valid, or the type cannot be an object.
        """
        return BoundEvent(name, payload_type, self._find_to_send)
