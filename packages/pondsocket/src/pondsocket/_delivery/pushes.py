"""What the application sends to connections and not to the members of a channel.

A push goes to one connection, or to those of one user; what an endpoint broadcasts goes to all of
its connections. No outgoing handler sees any of it, and no history keeps it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pondsocket_common import dump_json, fresh_id

from pondsocket._errors import UsageError
from pondsocket._state.named_event import named
from pondsocket._state.payloads import as_payload

from .frame import Frame


class Push(NamedTuple):
    """An event for connections, which each node makes its own frame of.

    Args:
        payload: As JSON.
    """

    event: str
    request_id: str
    payload: bytes

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """Return one that comes from another node."""
        return cls(arguments["event"], arguments["id"], arguments["payload"].encode())

    def arguments(self) -> dict[str, str]:
        """Return what another node makes it of."""
        # The payload as a text: no node decodes it.
        return {"event": self.event, "id": self.request_id, "payload": self.payload.decode()}

    def frame(self, channel_name: str) -> Frame:
        """Return a frame of it, for one or many connections."""
        return Frame.broadcast(channel_name, self.event, self.request_id, self.payload, None)


def encode_push(event: object, payload: object) -> Push:
    """Return an event for connections; its payload is encoded now, once.

    Args:
        event: Its name, or an `Event`.

    Raises:
        UsageError: The event's name is reserved or not valid, or the payload is not an object.
        EncodingError: The payload cannot be written as JSON, or does not fit the event.
    """
    name, shown = named(event, payload)
    return Push(name, fresh_id(), dump_json(as_payload(shown)))


def channel_name_of(channel: object) -> str:
    """Return the name of the channel that a push is to belong to.

    Raises:
        UsageError: It is no text.
    """
    if isinstance(channel, str):
        return channel
    raise UsageError(
        "push: channel is the name of one, for instance `ctx.channel.name`, not"
        f" {type(channel).__name__}."
    )


def push_frame(channel_name: str, event: object, payload: object) -> Frame:
    """Return a frame for connections of this node alone; see `encode_push`."""
    return encode_push(event, payload).frame(channel_name)
