"""The errors of messages.

PondSocketError
  InvalidMessage    the peer sent something that breaks the protocol
  EncodingError     the caller gave a value that JSON has no form for
"""

from dataclasses import dataclass

from ._enums import ClientActions


class PondSocketError(Exception):
    """The root of every error of these packages."""


class EncodingError(PondSocketError, TypeError):
    """A payload that cannot be written as JSON."""


# Not frozen: contextlib and others set attributes of an exception that propagates.
@dataclass(eq=False)
class InvalidMessage(PondSocketError):  # noqa: N818 - named by what the peer sent
    """A message that breaks the protocol, with the fields of it that could be read.

    Args:
        reason: A sentence for the peer.
        field: The field at fault, as named on the wire; None if the whole message is at fault.
        action, channel_name, request_id: Those of the message; None where they are not valid.
    """

    reason: str
    field: str | None = None
    action: ClientActions | None = None
    channel_name: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason
