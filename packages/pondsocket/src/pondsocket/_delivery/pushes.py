"""What the application sends to connections and not to the members of a channel.

A push goes to one connection, or to those of one user; what an endpoint broadcasts goes to all of
its connections. No outgoing handler sees any of it, and no history keeps it.
"""

from pondsocket_common import dump_json, fresh_id

from pondsocket._state.payloads import as_payload, check_event

from .frame import Frame


def push_frame(channel_name: str, event: str, payload: object) -> Frame:
    """Return a frame for one or many connections; its payload is encoded now, once.

    Raises:
        UsageError: The event's name is reserved or not valid, or the payload is not an object.
        EncodingError: The payload cannot be written as JSON.
    """
    check_event(event)
    encoded = dump_json(as_payload(payload))
    return Frame.broadcast(channel_name, event, fresh_id(), encoded, None)
