"""The context of an outgoing handler."""

from typing import Self

from pondsocket_common import Payload

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._state.payloads import as_payload
from pondsocket._state.user import User


class OutgoingContext:
    """A broadcast that is about to go to one member: transform it, block it, or leave it alone."""

    __slots__ = ("_event", "_payload", "_recipient", "blocked", "channel", "transformed")

    def __init__(
        self, channel: Channel, event: str, payload: Payload, recipient: ChannelMember
    ) -> None:
        self.channel: Channel = channel
        self.blocked: bool = False
        self.transformed: bool = False
        self._event = event
        self._payload = payload
        self._recipient = recipient

    def block(self) -> None:
        """Do not send it to this member."""
        self.blocked = True

    def unblock(self) -> Self:
        """Send it after all: undo `block`. Return the context."""
        self.blocked = False
        return self

    def is_blocked(self) -> bool:
        """Return whether it was blocked for this member."""
        return self.blocked

    def transform(self, payload: object) -> None:
        """Send another payload to this member.

        Raises:
            UsageError: The payload is not an object.
        """
        self._payload = as_payload(payload)
        self.transformed = True

    def get_payload(self) -> Payload:
        """Return the payload. All members share it: call `transform` instead of changing it."""
        return self._payload

    def get_event(self) -> str:
        """Return the event's name."""
        return self._event

    def get_user(self) -> User:
        """Return the member that is going to receive it."""
        return self._recipient.as_user()
