"""What can be wrong with a message.

PondSocketError
  InvalidMessage    the peer sent something that is not the protocol
  EncodingError     the caller gave something that JSON cannot say
"""

from dataclasses import dataclass

from ._enums import ClientActions


class PondSocketError(Exception):
    """The root of every error of these packages."""


class EncodingError(PondSocketError, TypeError):
    """A payload that cannot be written as JSON."""


# Not frozen: contextlib and others set attributes of an exception on its way up.
@dataclass(eq=False)
class InvalidMessage(PondSocketError):  # noqa: N818 - named by what the peer sent
    """A message that breaks the protocol, with whatever of it could be read.

    Args:
        reason: A sentence for the peer.
        field: The field at fault, as named on the wire; None where the whole message is.
        action, channel_name, request_id: Those of the message, where readable.
    """

    reason: str
    field: str | None = None
    action: ClientActions | None = None
    channel_name: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason
