"""A connection for use by the application: in its handlers, in tasks, and in threads."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar, overload

from pondsocket_common import GATEWAY, CloseCode, fresh_id

from pondsocket._delivery.frame import Frame
from pondsocket._delivery.pushes import channel_name_of, push_frame
from pondsocket._errors import UsageError, readable_text
from pondsocket._runtime.loop import Loop
from pondsocket._state.named_event import Event
from pondsocket._state.user import User

from .router import Connection

CLOSED: Final = "closed by the application"
"""What a client is told if the application gives no reason."""

T = TypeVar("T")


class Pushable(Connection, Protocol):
    """A connection, as far as its handle uses it."""

    assigns: dict[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it is being served."""
        ...

    def push(self, frame: Frame) -> bool:
        """Send a push; see `Session.push`."""
        ...

    def serves(self, channel_name: str) -> bool:
        """Return whether a lobby of its endpoint serves channels of this name."""
        ...


class ConnectionHandle:
    """One connection: `ctx.connection`. It may outlive the handler, and the connection.

    Any thread may call its methods; what one thread sends keeps its order. When the connection has
    ended, the handle holds no more of it than its user's id and its assigns.

    Attributes:
        ref: A random name of this connection. It is no secret, and opens nothing.
        assigns: The server-only data of the connection, which all its handlers share.
    """

    __slots__ = ("_connection", "_loop", "_user_id", "assigns", "ref")

    def __init__(self, connection: Pushable) -> None:
        self.ref: str = fresh_id()
        self.assigns: dict[str, Any] = connection.assigns
        self._user_id = connection.user_id
        self._loop: Loop = connection.environment.loop
        # Until the end of the connection, which calls `let_go`: a handle that is kept must not
        # keep the connection's request, memberships and frames.
        self._connection: Pushable | None = connection

    def __repr__(self) -> str:
        state = "open" if self.is_open else "ended"
        return f"<ConnectionHandle {self.ref} user={self._user_id!r} {state}>"

    @property
    def user(self) -> User:
        """The user, with the assigns that the connection has now."""
        return User(self._user_id, dict(self.assigns), None)

    @property
    def is_open(self) -> bool:
        """Whether it is being served. A client may be gone before the server notices."""
        connection = self._connection
        return connection is not None and connection.is_open

    @overload
    def push(self, event: str, payload: object = None, *, channel: str | None = None) -> bool: ...
    @overload
    def push(self, event: Event[T], payload: T, *, channel: str | None = None) -> bool: ...
    def push(
        self, event: str | Event[Any], payload: object = None, *, channel: str | None = None
    ) -> bool:
        """Send an event to this connection alone, behind all that was sent to it before.

        It is queued, within the bounds of the connection's outbox. If these are exceeded, the
        connection is a slow consumer like any other.

        Args:
            channel: The channel that it belongs to for the client, which must be a member: clients
                drop what comes for other channels. None: the endpoint itself (GATEWAY).

        Returns:
            False if the connection has ended, or is no member of the channel. In another thread
            than the event loop's that may turn out later.

        Raises:
            UsageError: The event's name is reserved or not valid, the payload is not an object, or
                the endpoint has no such channel.
            EncodingError: The payload cannot be written as JSON.
        """
        name = GATEWAY if channel is None else channel_name_of(channel)
        frame = push_frame(name, event, payload)
        connection = self._connection
        if connection is None or not connection.is_open:
            return False
        if name != GATEWAY and name not in connection.memberships:
            if not connection.serves(name):
                raise UsageError(f"push: the endpoint has no channel {name!r}.")
            return False
        if self._loop.is_here:
            return connection.push(frame)
        return self._call_soon(partial(connection.push, frame))

    def close(self, reason: str = CLOSED, *, code: CloseCode = CloseCode.DISCONNECTED) -> None:
        """Close this connection alone, after what was sent to it before.

        Args:
            reason: The reason that the client is told.
            code: With 4403, the default, clients do not reconnect by themselves.

        Raises:
            UsageError: The reason is not a text.
        """
        told, close_code = readable_text("close: the reason", reason), CloseCode(code)
        connection = self._connection
        if connection is None:
            return
        if self._loop.is_here:
            connection.close(close_code, told)
        else:
            self._call_soon(partial(connection.close, close_code, told))

    def _call_soon(self, call: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon(call)
        except UsageError:  # the event loop has ended, and all its connections
            return False
        return True


def let_go(handle: ConnectionHandle) -> None:
    """Note that the connection of a handle has ended. To be called by the connection."""
    handle._connection = None
