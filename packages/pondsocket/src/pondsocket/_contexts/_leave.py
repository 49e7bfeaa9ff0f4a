"""What a leave handler is given."""

from pondsocket._channel import Channel
from pondsocket._identity import LeaveReason, User
from pondsocket._member import Departure


class LeaveContext:
    """A user's last connection has left a channel."""

    def __init__(self, departure: Departure) -> None:
        self._departure = departure

    @property
    def channel(self) -> Channel:
        """The channel that was left."""
        return self._departure.channel

    @property
    def user(self) -> User:
        """Who has left, as of the moment before."""
        return self._departure.user

    @property
    def reason(self) -> LeaveReason:
        """Why."""
        return self._departure.reason

    async def broadcast(self, event: str, payload: object = None, *, history: bool = True) -> None:
        """Send an event to everyone who is still there; all else as `Channel.broadcast`."""
        await self.channel.broadcast(event, payload, history=history)

    async def broadcast_to(
        self, event: str, payload: object, *user_ids: str, history: bool = True
    ) -> None:
        """Send an event to every connection of these users."""
        await self.channel.broadcast_to(event, payload, *user_ids, history=history)

    async def broadcast_from(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None:
        """The same as `broadcast`: who has left is not there to be left out."""
        await self.channel.broadcast(event, payload, history=history)

    async def remaining_user_count(self) -> int:
        """How many users are still there."""
        return await self.channel.user_count()
