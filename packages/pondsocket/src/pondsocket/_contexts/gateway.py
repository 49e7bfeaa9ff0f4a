"""The context of a handler of an endpoint's own events."""

from collections.abc import Mapping
from typing import Any, NoReturn

from pondsocket_common import GATEWAY, ClientMessage, Payload

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._connection.session import Session
from pondsocket._errors import UsageError
from pondsocket._state.patterns import Route
from pondsocket._state.user import User

from .base import ChannelContext
from .event import EventContext


class GatewayContext(EventContext):
    """An event to the endpoint itself. Methods that need a channel raise a `UsageError`.

    `push` sends to the connection that asks, and `Endpoint.broadcast` to all of the endpoint.
    """

    def __init__(self, session: Session, message: ClientMessage, route: Route) -> None:
        # Not EventContext's own, which needs a member.
        ChannelContext.__init__(self, session, message, route)
        self._sender = session
        self._replied = False

    @property
    def outer_params(self) -> Mapping[str, str]:
        """The parameters of the endpoint's pattern."""
        return self.session.params

    @property
    def path(self) -> str:
        """The path that the client has connected to, for `pond.channel(path, name)`."""
        return self.session.path

    @property
    def channel(self) -> Channel:
        """Not available: an endpoint's event has no channel."""
        self._fail()

    @property
    def member(self) -> ChannelMember:
        """Not available: an endpoint's event has no membership."""
        self._fail()

    @property
    def user(self) -> User:
        """The sender, with the connection's assigns."""
        return User(self.session.user_id, dict(self.session.assigns), None)

    @property
    def is_accepted(self) -> bool:
        """Whether the sender is still connected: an endpoint's event needs no join."""
        return self.session.is_open

    def get_user(self) -> User:
        """Return the sender, with the connection's assigns."""
        return self.user

    async def get_all_presence(self) -> dict[str, Payload]:
        """Raise a `UsageError`: there is no channel."""
        self._fail()

    def _push_channel(self) -> str:
        return GATEWAY

    def _own_assigns(self) -> dict[str, Any]:
        return self.session.assigns

    def _fail(self) -> NoReturn:
        raise UsageError(
            f"The event {self.event_name} was sent to the endpoint itself, where there is no"
            ' channel; use `pond.channel("/endpoint", "/channel")` to reach one, `ctx.push` for'
            " this connection, and `endpoint.broadcast` for all connections of the endpoint."
        )
