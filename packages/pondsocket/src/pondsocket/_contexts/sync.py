"""The contexts for plain functions: the same names, but blocking.

A plain handler runs in a worker thread. Each call runs the method in the event loop and waits for
its result.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar, overload

import anyio.from_thread
from pondsocket_common import CloseCode, Payload, Position, ServerMessage

from pondsocket._channel.channel import Channel
from pondsocket._connection.handle import CLOSED, ConnectionHandle
from pondsocket._errors import UsageError
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import Route
from pondsocket._state.user import LeaveReason, User, UserId

from .base import ChannelContext
from .disconnect import DisconnectContext
from .event import EventContext
from .gateway import GatewayContext
from .join import JoinContext
from .leave import LeaveContext

X = TypeVar("X", bound=ChannelContext)
R = TypeVar("R")
T = TypeVar("T")


def _wait(method: Callable[..., Coroutine[Any, Any, R]], *args: Any, **kwargs: Any) -> R:
    has_begun = False

    async def call() -> R:
        nonlocal has_begun
        has_begun = True
        return await method(*args, **kwargs)

    try:
        return anyio.from_thread.run(call)
    except RuntimeError as error:
        if has_begun:
            raise
        raise UsageError(
            f"`ctx.{method.__name__}(…)` of a plain function blocks, and works only in the thread"
            " that the function runs in. For a coroutine, or what returns one, write the handler"
            " and its decorators as `async def`; a thread of your own takes `pond.channel(…)`."
        ) from error


class _SyncContext(Generic[X]):
    def __init__(self, context: X) -> None:
        self._context = context

    @property
    def connection(self) -> ConnectionHandle:
        """The connection that has sent the message; it may be kept."""
        return self._context.connection

    @property
    def route(self) -> Route:
        """How the name matched the pattern."""
        return self._context.route

    @property
    def request_id(self) -> str:
        """The request's id; a reply has the same."""
        return self._context.request_id

    @property
    def user(self) -> User:
        """The user that has sent the message."""
        return self._context.user

    def has_replied(self) -> bool:
        """Return whether a reply was sent."""
        return self._context.has_replied()

    @overload
    def reply(self, event: str, payload: object = None) -> None: ...
    @overload
    def reply(self, event: Event[T], payload: T) -> None: ...
    def reply(self, event: str | Event[Any], payload: object = None) -> None:
        """Send a reply to the client that asked, and to no other."""
        _wait(self._context.reply, event, payload)

    @overload
    def push(self, event: str, payload: object = None, *, channel: str | None = None) -> None: ...
    @overload
    def push(self, event: Event[T], payload: T, *, channel: str | None = None) -> None: ...
    def push(
        self, event: str | Event[Any], payload: object = None, *, channel: str | None = None
    ) -> None:
        """Send an event to this connection alone, any number of times."""
        _wait(self._context.push, event, payload, channel=channel)

    def close(self, reason: str = CLOSED, *, code: CloseCode = CloseCode.DISCONNECTED) -> None:
        """Close this connection alone."""
        _wait(self._context.close, reason, code=code)

    def set_assign(self, key: str, value: object) -> None:
        """Set one assign of this membership; of the connection for the endpoint's own events."""
        _wait(self._context.set_assign, key, value)

    def assign(self, assigns: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set several of these assigns."""
        _wait(self._context.assign, assigns, **more)

    def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the membership, or else of the connection, or else `default`."""
        return _wait(self._context.get_assign, key, default)


class _SyncChannelContext(_SyncContext[X]):
    @property
    def channel(self) -> Channel:
        """The channel. Its methods must be awaited: prefer those of this context."""
        return self._context.channel

    @overload
    def broadcast(self, event: str, payload: object = None, *, history: bool = True) -> None: ...
    @overload
    def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member."""
        _wait(self._context.broadcast, event, payload, history=history)

    def broadcast_to(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Send an event to every connection of these users."""
        _wait(self._context.broadcast_to, event, payload, *user_ids, history=history)

    @overload
    def broadcast_from(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    def broadcast_from(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    def broadcast_from(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member but this connection."""
        _wait(self._context.broadcast_from, event, payload, history=history)

    def history(
        self, since: Position | None = None, *, limit: int = 100
    ) -> list[ServerMessage] | None:
        """Return messages of the channel's history; see `Channel.history`."""
        return _wait(self._context.history, since, limit=limit)

    def track(self, presence: object, *user_ids: UserId) -> None:
        """Set the presence of this connection, or of all connections of the users named."""
        _wait(self._context.track, presence, *user_ids)

    def get_all_presence(self) -> dict[str, Payload]:
        """Return the presence of each user in the channel, by user id."""
        return _wait(self._context.get_all_presence)

    def get_all_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user in the channel, by user id."""
        return _wait(self._context.get_all_assigns)


class SyncJoinContext(_SyncChannelContext[JoinContext]):
    """`JoinContext` for a plain `def` handler."""

    @property
    def event(self) -> str:
        """The name of the event that the client gave."""
        return self._context.event

    @property
    def is_accepted(self) -> bool:
        """Whether the join was accepted."""
        return self._context.is_accepted

    @property
    def has_responded(self) -> bool:
        """Whether the client has its answer: the join was accepted or declined."""
        return self._context.has_responded

    @property
    def join_params(self) -> Payload:
        """The parameters that the client gave."""
        return self._context.join_params

    def get_join_params(self) -> Payload:
        """Return the parameters that the client gave."""
        return self._context.join_params

    def accept(
        self,
        assigns: Mapping[str, Any] | None = None,
        *,
        response: object = None,
        history: int | None = None,
    ) -> None:
        """Accept the join. When this returns, the client is a member and has been told so."""
        _wait(self._context.accept, assigns, response=response, history=history)

    def decline(self, code: int = 403, message: str = "The join was declined.") -> None:
        """Refuse the join. The client is told the code and the message."""
        _wait(self._context.decline, code, message)


class SyncEventContext(_SyncChannelContext[EventContext]):
    """`EventContext` for a plain `def` handler."""

    @property
    def event_name(self) -> str:
        """The event's name."""
        return self._context.event_name

    @property
    def is_accepted(self) -> bool:
        """Whether the sender is a member still: its join was accepted, and it has not left."""
        return self._context.is_accepted

    @property
    def has_responded(self) -> bool:
        """Whether the event has its response: a reply; the same as `has_replied`."""
        return self._context.has_responded

    def get_user(self) -> User:
        """Return the sender."""
        return self._context.user

    def get_payload(self) -> Payload:
        """Return the payload that the client sent."""
        return self._context.get_payload()

    def update_presence(self, presence: object, *user_ids: UserId) -> None:
        """Set another presence; the same as `track`."""
        _wait(self._context.update_presence, presence, *user_ids)

    def untrack(self, *user_ids: UserId) -> None:
        """Remove the presence of this connection, or of the users named."""
        _wait(self._context.untrack, *user_ids)

    def evict(self, reason: str = "", *user_ids: UserId) -> None:
        """End this membership, or those of the users named. Their clients are told the reason."""
        _wait(self._context.evict, reason, *user_ids)


class SyncGatewayContext(SyncEventContext):
    """`GatewayContext` for a plain `def` handler; what needs a channel raises a `UsageError`."""

    _context: GatewayContext

    @property
    def path(self) -> str:
        """The path that the client has connected to."""
        return self._context.path


class SyncLeaveContext:
    """`LeaveContext` for a plain `def` handler."""

    def __init__(self, context: LeaveContext) -> None:
        self._context = context

    @property
    def channel(self) -> Channel:
        """The channel that was left."""
        return self._context.channel

    @property
    def user(self) -> User:
        """The user that has left, as it was just before."""
        return self._context.user

    @property
    def reason(self) -> LeaveReason:
        """Why the user has left."""
        return self._context.reason

    def get_user(self) -> User:
        """Return the user that has left."""
        return self._context.get_user()

    def get_reason(self) -> LeaveReason:
        """Return why the user has left."""
        return self._context.get_reason()

    def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the user that has left, as it was, or else `default`."""
        return self._context.get_assign(key, default)

    def get_all_presence(self) -> dict[str, Payload]:
        """Return the presence of each remaining user, by user id."""
        return _wait(self._context.get_all_presence)

    def get_all_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each remaining user, by user id."""
        return _wait(self._context.get_all_assigns)

    @overload
    def broadcast(self, event: str, payload: object = None, *, history: bool = True) -> None: ...
    @overload
    def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to all remaining members."""
        _wait(self._context.broadcast, event, payload, history=history)

    def broadcast_to(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Send an event to every connection of these users."""
        _wait(self._context.broadcast_to, event, payload, *user_ids, history=history)

    @overload
    def broadcast_from(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    def broadcast_from(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    def broadcast_from(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event as `broadcast` does: the user that has left is no member any more."""
        _wait(self._context.broadcast_from, event, payload, history=history)

    def remaining_user_count(self) -> int:
        """Return how many users remain in the channel."""
        return _wait(self._context.remaining_user_count)


class SyncDisconnectContext:
    """`DisconnectContext` for a plain `def` handler."""

    def __init__(self, context: DisconnectContext) -> None:
        self._context = context

    @property
    def connection(self) -> ConnectionHandle:
        """The connection, which has ended."""
        return self._context.connection

    @property
    def user(self) -> User:
        """The user, with the assigns that the connection had at its end."""
        return self._context.user

    @property
    def assigns(self) -> dict[str, Any]:
        """The server-only data of the connection."""
        return self._context.assigns

    @property
    def code(self) -> CloseCode | int:
        """Why it has ended; see `DisconnectContext.code`."""
        return self._context.code

    @property
    def reason(self) -> str:
        """The reason that was given, by the side that has closed it; mostly empty."""
        return self._context.reason

    @property
    def path(self) -> str:
        """The path that it was connected to."""
        return self._context.path

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the endpoint's pattern."""
        return self._context.params

    @overload
    def broadcast(self, event: str, payload: object = None) -> None: ...
    @overload
    def broadcast(self, event: Event[T], payload: T) -> None: ...
    def broadcast(self, event: str | Event[Any], payload: object = None) -> None:
        """Send an event to all connections of the endpoint that have the same channels."""
        _wait(self._context.broadcast, event, payload)
