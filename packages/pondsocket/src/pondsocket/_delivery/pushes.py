"""What the application sends to connections and not to the members of a channel.

A push goes to one connection, or to those of one user; what an endpoint broadcasts goes to all of
its connections. No outgoing handler sees any of it, and no history keeps it.
"""

from pondsocket_common import dump_json, fresh_id

from pondsocket._state.named_event import named
from pondsocket._state.payloads import as_payload

from .frame import Frame


def push_frame(channel_name: str, event: object, payload: object) -> Frame:
    """Return a frame for one or many connections; its payload is encoded now, once.

    Args:
        event: Its name, or an `Event`.

    Raises:
        UsageError: The event's name is reserved or not valid, or the payload is not an object.
        EncodingError: The payload cannot be written as JSON, or does not fit the event.
    """
    name, shown = named(event, payload)
    encoded = dump_json(as_payload(shown))
    return Frame.broadcast(channel_name, name, fresh_id(), encoded, None)
