"""The context of a disconnect handler."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar, overload

from pondsocket_common import CloseCode

from pondsocket._connection.handle import ConnectionHandle
from pondsocket._connection.session import Session
from pondsocket._environment import Environment
from pondsocket._state.named_event import Event
from pondsocket._state.user import User

Broadcast: TypeAlias = Callable[[object, object, str], Awaitable[None]]
"""Sends an event to all connections of an endpoint to one path: event, payload, path."""

T = TypeVar("T")


class DisconnectContext:
    """A connection of the endpoint has ended; its memberships have, too."""

    def __init__(self, session: Session, broadcast: Broadcast) -> None:
        # Not the session: it is not kept while a handler runs long.
        self._connection = session.handle
        self._user = session.handle.user
        self._code, self._reason = session.closed_with
        self._path = session.path
        self._params = session.params
        self._environment = session.environment
        self._broadcast = broadcast

    @property
    def connection(self) -> ConnectionHandle:
        """The connection; its `ref` tells which one of those that were kept it is."""
        return self._connection

    @property
    def user(self) -> User:
        """The user, with the assigns that the connection had at its end."""
        return self._user

    @property
    def assigns(self) -> dict[str, Any]:
        """The server-only data of the connection."""
        return self._connection.assigns

    @property
    def code(self) -> CloseCode | int:
        """Why it has ended: a `CloseCode` if the server has closed it.

        Else the number that the client's WebSocket gave, for instance 1001 for a page that was
        left; NORMAL if there is none, as for an event stream.
        """
        return self._code

    @property
    def reason(self) -> str:
        """The reason that was given, by the side that has closed it; mostly empty."""
        return self._reason

    @property
    def path(self) -> str:
        """The path that it was connected to."""
        return self._path

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the endpoint's pattern."""
        return self._params

    @property
    def environment(self) -> Environment:
        """What the parts of the pond share."""
        return self._environment

    @overload
    async def broadcast(self, event: str, payload: object = None) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T) -> None: ...
    async def broadcast(self, event: str | Event[Any], payload: object = None) -> None:
        """Send an event to all connections of the endpoint that have the same channels.

        Those are the connections to the same path; of an endpoint with `shared_channels`, all.

        Raises:
            UsageError: The event's name is reserved or not valid, or the payload is not an object.
            EncodingError: The payload cannot be written as JSON.
        """
        await self._broadcast(event, payload, self._path)
