"""What nodes tell each other of a broadcast, to and from bytes. Pure.

One line of JSON, and the payload's JSON behind it. Each node makes its own wire forms of it.
"""

from typing import Final, NamedTuple

from pondsocket_common import InvalidMessage, dump_json, load_json

from pondsocket._history.slice import Audience

# A node that meets another version takes it for a gap: it may be an old node during a deploy.
VERSION: Final = 1


class Envelope(NamedTuple):
    """A broadcast between nodes.

    Args:
        origin: The node that it comes from; empty: no node, but a publisher.
        number: Counts the broadcasts of the origin.
        payload: As JSON.
    """

    origin: str
    number: int
    event: str
    request_id: str
    audience: Audience | None
    payload: bytes


def pack(envelope: Envelope) -> bytes:
    """Encode an envelope."""
    origin, number, event, request_id, audience, payload = envelope
    users = None if audience is None else audience.users
    is_exclusion = audience is not None and audience.is_exclusion
    line = dump_json([VERSION, origin, number, event, request_id, users, is_exclusion])
    return b"%b\n%b" % (line, payload)


def unpack(data: bytes) -> Envelope | None:
    """Decode an envelope. None: it is of another version, or of no node."""
    line, separator, payload = data.partition(b"\n")
    try:
        fields = load_json(line)
    except InvalidMessage:
        return None
    match fields:
        case [
            int(version),
            str(origin),
            int(number),
            str(event),
            str(request_id),
            users,
            bool(but),
        ]:
            if version != VERSION or not separator:
                return None
        case _:
            return None
    if users is None:
        return Envelope(origin, number, event, request_id, None, payload)
    if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
        return None
    return Envelope(origin, number, event, request_id, Audience(tuple(users), but), payload)
