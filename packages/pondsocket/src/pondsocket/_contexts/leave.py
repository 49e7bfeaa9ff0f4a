"""The context of a leave handler."""

from typing import Any, TypeVar, overload

from pondsocket_common import Payload

from pondsocket._channel.channel import Channel
from pondsocket._state.named_event import Event
from pondsocket._state.user import LeaveReason, User, UserId

T = TypeVar("T")


class LeaveContext:
    """A user's last connection has left a channel."""

    def __init__(self, channel: Channel, user: User, reason: LeaveReason) -> None:
        self._channel = channel
        self._user = user
        self._reason = reason

    @property
    def channel(self) -> Channel:
        """The channel that was left."""
        return self._channel

    @property
    def user(self) -> User:
        """The user that has left, as it was just before."""
        return self._user

    @property
    def reason(self) -> LeaveReason:
        """Why the user has left."""
        return self._reason

    def get_user(self) -> User:
        """Return the user that has left."""
        return self._user

    def get_reason(self) -> LeaveReason:
        """Return why the user has left."""
        return self._reason

    def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the user that has left, as it was, or else `default`."""
        return self._user.assigns.get(key, default)

    async def get_all_presence(self) -> dict[str, Payload]:
        """Return the presence of each remaining user, by user id."""
        return await self.channel.get_presence()

    async def get_all_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each remaining user, by user id."""
        return await self.channel.get_assigns()

    @overload
    async def broadcast(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    async def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to all remaining members; see `Channel.broadcast`."""
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
        """Send an event as `broadcast` does: the user that has left is no member any more."""
        await self.channel.broadcast(event, payload, history=history)

    async def remaining_user_count(self) -> int:
        """Return how many users remain in the channel."""
        return await self.channel.user_count()
