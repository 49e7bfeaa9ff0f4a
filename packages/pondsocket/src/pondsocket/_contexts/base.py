"""The base class of join and event contexts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar, overload

from pondsocket_common import ClientMessage, CloseCode, Payload, Position, ServerMessage

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._connection.handle import CLOSED, ConnectionHandle
from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._delivery.pushes import channel_name_of, push_frame
from pondsocket._errors import UsageError, readable_text
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import Route
from pondsocket._state.user import User, UserId

T = TypeVar("T")


class ChannelContext(ABC):
    """A channel, and the connection that has sent a message to it.

    It may outlive the membership, in a slow handler or in a task. Its methods then raise nothing
    on that account: for a member that is gone they do nothing, and the others still get broadcasts.
    """

    _member: ChannelMember | None
    _replied = False

    def __init__(self, session: Session, message: ClientMessage, route: Route) -> None:
        self.session = session
        self.message = message
        self.route = route

    @property
    def channel(self) -> Channel:
        """The channel that the message was sent to."""
        return self.member.channel

    @property
    def member(self) -> ChannelMember:
        """The membership of the sender, which the methods below act for."""
        if self._member is None:
            raise UsageError("The join is not accepted (yet): write `await ctx.accept()` first.")
        return self._member

    @property
    @abstractmethod
    def user(self) -> User:
        """The user that has sent the message."""

    def has_replied(self) -> bool:
        """Return whether a reply was sent."""
        return self._replied

    @property
    def request_id(self) -> str:
        """The request's id; a reply has the same."""
        return self.message.request_id

    @overload
    async def reply(self, event: str, payload: object = None) -> None: ...
    @overload
    async def reply(self, event: Event[T], payload: T) -> None: ...
    async def reply(self, event: str | Event[Any], payload: object = None) -> None:
        """Send a reply to the client that asked, and to no other.

        Its event is a name, or an `Event`, which says what its payload looks like.

        An event has one reply: a second one is logged and not sent.

        Raises:
            UsageError: The event's name is reserved or not valid, or the payload is not an object.
            EncodingError: The payload cannot be written as JSON, or does not fit the event.
        """
        self.session.environment.loop.check("reply")
        self.member.send(replies.reply(self.message, event, payload))
        self._replied = True

    @property
    def connection(self) -> ConnectionHandle:
        """The connection that has sent the message; it may be kept, also by threads."""
        return self.session.handle

    @overload
    async def push(
        self, event: str, payload: object = None, *, channel: str | None = None
    ) -> None: ...
    @overload
    async def push(self, event: Event[T], payload: T, *, channel: str | None = None) -> None: ...
    async def push(
        self, event: str | Event[Any], payload: object = None, *, channel: str | None = None
    ) -> None:
        """Send an event to this connection alone, any number of times.

        It goes behind the replies, broadcasts and pushes that were sent before. Outgoing handlers
        do not see it, and no history keeps it. After the end of the connection, or of the
        membership, it does nothing; `ctx.connection.push` also tells.

        Args:
            channel: The channel that it belongs to for the client, by default that of the message.
                The connection must be a member: clients drop what comes for other channels.
                GATEWAY: the endpoint itself.

        Raises:
            UsageError: The event's name is reserved or not valid, the payload is not an object, the
                join is not accepted (yet), or the connection is no member of `channel`.
            EncodingError: The payload cannot be written as JSON.
        """
        session, own = self.session, self._push_channel()
        session.environment.loop.check("push")
        name = own if channel is None else channel_name_of(channel)
        if not session.push(push_frame(name, event, payload)) and name != own and session.is_open:
            raise UsageError(
                f"push: the connection is no member of {name!r}, and its client would drop what"
                " comes for it; leave `channel` out, or let the client join."
            )

    def _push_channel(self) -> str:
        return self.member.channel.name

    async def close(
        self, reason: str = CLOSED, *, code: CloseCode = CloseCode.DISCONNECTED
    ) -> None:
        """Close this connection alone; the user's others stay open.

        Args:
            reason: The reason that the client is told.
            code: With 4403, the default, clients do not reconnect by themselves.

        Raises:
            UsageError: The reason is not a text.
        """
        self.session.environment.loop.check("close")
        self.session.close(CloseCode(code), readable_text("close: the reason", reason))

    @overload
    async def broadcast(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    async def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member; see `Channel.broadcast`."""
        await self.channel.broadcast(event, payload, history=history)

    async def broadcast_to(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Send an event to every connection of these users."""
        await self.channel.broadcast_to(event, payload, *user_ids, history=history)

    @overload
    async def broadcast_from(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    async def broadcast_from(
        self, event: Event[T], payload: T, *, history: bool = True
    ) -> None: ...
    async def broadcast_from(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member but this connection.

        It is replayed to users that were away, but not to this user, unless the user has another
        connection in the channel as well.
        """
        channel = self.channel  # kept: a later member must find this one, where the message leaves
        rest = channel.publish_from(event, payload, self.session, keep=history)
        if rest is not None:  # the history answers late
            await rest

    async def history(
        self, since: Position | None = None, *, limit: int = 100
    ) -> list[ServerMessage] | None:
        """Return messages of the channel's history; see `Channel.history`."""
        return await self.channel.history(since, limit=limit)

    async def track(self, presence: object, *user_ids: UserId) -> None:
        """Set the presence of this connection, or of all connections of the users named.

        Raises:
            UsageError: The presence is not an object, or one of the users is not a member.
            EncodingError: The presence cannot be written as JSON.
            PondError: 413: it is longer than `Options.max_presence_bytes`, or the list that members
                are sent would be longer than `Options.outbox_bytes`.
        """
        for member in self._addressed(user_ids):
            sent = member.channel.track_member(member, presence)
            self.session.charge_bytes(sent if isinstance(sent, int) else await sent)

    async def set_assign(self, key: str, value: object) -> None:
        """Set one assign of this membership."""
        self._own_assigns()[key] = value

    async def assign(self, assigns: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set several assigns of this membership."""
        self._own_assigns().update(assigns or {}, **more)

    async def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the membership, or else of the connection, or else `default`."""
        assigns = self._own_assigns()
        return assigns[key] if key in assigns else self.session.assigns.get(key, default)

    async def get_all_presence(self) -> dict[str, Payload]:
        """Return the presence of each user in the channel, by user id."""
        return await self.channel.get_presence()

    async def get_all_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user in the channel, by user id."""
        return await self.channel.get_assigns()

    def _own_assigns(self) -> dict[str, Any]:
        return self.member.assigns

    def _addressed(self, user_ids: tuple[UserId, ...]) -> list[ChannelMember]:
        return self.channel.members_of(user_ids) if user_ids else [self.member]
