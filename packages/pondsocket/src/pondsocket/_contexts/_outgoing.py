"""What an outgoing handler is given."""

from pondsocket_common import Payload

from pondsocket._channel import Channel
from pondsocket._identity import User
from pondsocket._member import Member
from pondsocket._payloads import as_payload


class OutgoingContext:
    """A broadcast is about to go to one member. Change it, withhold it, or leave it alone."""

    __slots__ = ("_event", "_payload", "_recipient", "blocked", "channel", "transformed")

    def __init__(self, channel: Channel, event: str, payload: Payload, recipient: Member) -> None:
        self.channel = channel
        self.blocked = False
        self.transformed = False
        self._event = event
        self._payload = payload
        self._recipient = recipient

    def block(self) -> None:
        """Withhold it from this member."""
        self.blocked = True

    def transform(self, payload: object) -> None:
        """Send this member another payload.

        Raises:
            UsageError: The payload is no object.
        """
        self._payload = as_payload(payload)
        self.transformed = True

    def get_payload(self) -> Payload:
        """What is about to be sent. It is shared by all members: `transform`, do not change it."""
        return self._payload

    def get_event(self) -> str:
        """The event's name."""
        return self._event

    def get_user(self) -> User:
        """The member it is about to be sent to."""
        return self._recipient.as_user()
