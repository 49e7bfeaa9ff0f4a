"""The context of an event handler."""

from collections.abc import Mapping
from threading import get_ident
from typing import Any, Final, TypeVar, overload

from pondsocket_common import (
    RESERVED_EVENTS,
    ClientMessage,
    MessageParts,
    Payload,
    ServerActions,
)

from pondsocket._channel.channel import ChannelMember
from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._log import about, get_log
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import Route
from pondsocket._state.user import User, UserId

from .base import ChannelContext

_log: Final = get_log("pondsocket.contexts")
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_SYSTEM: Final = ServerActions.SYSTEM

T = TypeVar("T")


class EventContext(ChannelContext):
    """An event that a member has sent; or, for an endpoint's own event, a client.

    Attributes:
        replied: Whether it has its reply.
    """

    def __init__(self, member: ChannelMember, message: ClientMessage, route: Route) -> None:
        # Does not call the base's: this runs for every event
        # (tests/benchmarks/microbench.py, "event, the handler does nothing; core").
        self.session: Session = member.session
        self.message = message
        self.route = route
        self._member = member
        self._sender: ChannelMember | Session = member
        self._replied = False

    @property
    def outer_params(self) -> Mapping[str, str]:
        """The parameters of the channel's pattern; those of the event are `route.params`."""
        return self.channel.params

    @property
    def event_name(self) -> str:
        """The event's name."""
        return self.message.event

    @property
    def user(self) -> User:
        """The sender."""
        return self.member.as_user()

    @property
    def is_accepted(self) -> bool:
        """Whether the sender is a member still: its join was accepted, and it has not left."""
        return self.member.is_current

    @property
    def has_responded(self) -> bool:
        """Whether the event has its response: a reply; the same as `has_replied`."""
        return self._replied

    def get_user(self) -> User:
        """Return the sender."""
        return self.member.as_user()

    def get_payload(self) -> Payload:
        """Return the payload that the client sent."""
        return self.message.payload

    @overload
    async def reply(self, event: str, payload: object = None) -> None: ...
    @overload
    async def reply(self, event: Event[T], payload: T) -> None: ...
    async def reply(self, event: str | Event[Any], payload: object = None) -> None:
        """Send a reply to the client that asked, and to no other; see `ChannelContext.reply`."""
        # Repeated here to save a call, as most handlers reply (the same file, "replies").
        loop = self.session.environment.loop
        if get_ident() not in loop.threads:  # as `Loop.check`, without the call
            loop.refuse("reply")
        request = self.message
        if event is request.event and type(payload) is dict and event not in RESERVED_EVENTS:
            # As `replies.reply`, without the call.
            name, request_id = request.channel_name, request.request_id
            message: MessageParts
            message = _SYSTEM, event, name, request_id, payload, None
        else:
            message = replies.reply(request, event, payload)
        if self._replied:
            _log.error(
                "A handler replied twice to the event %r; the first reply stands.",
                self.event_name,
                stack_info=True,
                extra=about(self.session, channel=request.channel_name, event=request.event),
            )
            return
        self._sender.send(message)  # raises if it cannot be encoded
        self._replied = True

    async def update_presence(self, presence: object, *user_ids: UserId) -> None:
        """Set another presence; the same as `track`."""
        await self.track(presence, *user_ids)

    async def untrack(self, *user_ids: UserId) -> None:
        """Remove the presence of this connection, or of the users named."""
        for member in self._addressed(user_ids):
            sent = member.channel.untrack_member(member)
            self.session.charge_bytes(sent if isinstance(sent, int) else await sent)

    async def evict(self, reason: str = "", *user_ids: UserId) -> None:
        """End this membership, or those of the users named. Their clients are told the reason.

        Raises:
            UsageError: One of the users is not a member.
        """
        if user_ids:
            await self.channel.evict_users(user_ids, reason)
        else:
            await self.channel.evict_members([self.member], reason)
