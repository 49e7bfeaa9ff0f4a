"""What an event handler is given."""

import logging
from collections.abc import Mapping
from typing import Final

from pondsocket_common import ClientMessage, Payload

from pondsocket import _answers as answers
from pondsocket._channel import Channel
from pondsocket._identity import User
from pondsocket._member import Member
from pondsocket._session import Session
from pondsocket._state.patterns import Route

from ._base import ChannelContext

_log: Final = logging.getLogger("pondsocket.contexts")


class EventContext(ChannelContext):
    """A member has sent an event; or, to a handler of the endpoint's own, a client."""

    def __init__(self, member: Member, message: ClientMessage, route: Route) -> None:
        # Without a call of the base's: one is made for every event
        # (tests/benchmarks/microbench.py, "event, the handler does nothing; core").
        self.session = member.session
        self.message = message
        self.route = route
        self._member = member
        self._line: Member | Session = member
        self._replied = False

    @property
    def channel(self) -> Channel:
        """The channel it was sent to."""
        return self.member.channel

    @property
    def member(self) -> Member:
        """The membership of the sender."""
        return self._member

    @property
    def outer_params(self) -> Mapping[str, str]:
        """The parameters of the channel's pattern; those of the event's are `route.params`."""
        return self.channel.params

    @property
    def event_name(self) -> str:
        """The event's name."""
        return self.message.event

    @property
    def user(self) -> User:
        """The sender."""
        return self.member.as_user()

    def get_user(self) -> User:
        """The sender."""
        return self.member.as_user()

    def get_payload(self) -> Payload:
        """What the client sent."""
        return self.message.payload

    async def reply(self, event: str, payload: object = None) -> None:
        """Answer the client that asked, and nobody else; all else as `ChannelContext.reply`."""
        # Here once more to save a call: it is what most handlers do (the same, "replies").
        frame = answers.reply(self.message, event, payload)
        if self._replied:
            _log.error(
                "A handler replied twice to the event %r; the first reply stands.",
                self.event_name,
                stack_info=True,
            )
            return
        self._replied = True
        self._line.send(frame)

    async def update_presence(self, presence: object, *user_ids: str) -> None:
        """Show another object; the same as `track`."""
        await self.track(presence, *user_ids)

    async def untrack(self, *user_ids: str) -> None:
        """Show nothing any more, for this connection or for the users named."""
        for member in self._addressed(user_ids):
            member.channel.untrack_member(member)

    async def evict(self, reason: str = "", *user_ids: str) -> None:
        """End this membership, or those of the users named; they are told the reason.

        Raises:
            UsageError: One of them is not a member.
        """
        await self.channel.evict_members(self._addressed(user_ids), reason)
