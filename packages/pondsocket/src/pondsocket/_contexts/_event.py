"""What an event handler is given."""

from pondsocket_common import ClientMessage, Payload

from pondsocket._channel import Channel, Member, User
from pondsocket._state.patterns import Route

from ._base import ChannelContext


class EventContext(ChannelContext):
    """A member has sent an event."""

    def __init__(self, member: Member, message: ClientMessage, route: Route) -> None:
        super().__init__(member.session, message, route)
        self._member = member

    @property
    def channel(self) -> Channel:
        """The channel it was sent to."""
        return self._member.channel

    @property
    def member(self) -> Member:
        """The membership of the sender."""
        return self._member

    @property
    def event_name(self) -> str:
        """The event's name."""
        return self.message.event

    @property
    def user(self) -> User:
        """The sender."""
        return self._member.as_user()

    def get_user(self) -> User:
        """The sender."""
        return self._member.as_user()

    def get_payload(self) -> Payload:
        """What the client sent."""
        return self.message.payload

    async def update_presence(self, presence: object, *user_ids: str) -> None:
        """Show another object; the same as `track`."""
        await self.track(presence, *user_ids)

    async def untrack(self, *user_ids: str) -> None:
        """Show nothing any more, for this connection or for the users named."""
        for member in self._addressed(user_ids):
            member.channel.untrack(member)

    async def evict(self, reason: str = "", *user_ids: str) -> None:
        """End this membership, or those of the users named; they are told the reason.

        Raises:
            UsageError: One of them is not a member.
        """
        await self.channel.evict(self._addressed(user_ids), reason)
