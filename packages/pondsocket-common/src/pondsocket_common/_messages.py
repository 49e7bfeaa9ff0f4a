"""The messages, as frozen types. `_codec.pond` defines their form on the wire.

`ClientMessage` and `ServerMessage` are the envelopes. Payloads of the application are plain
mappings. Payloads of the server's own have a type each, in the order of the protocol's table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NewType, TypeAlias

from ._enums import ClientActions, ErrorTypes, PresenceMode, ServerActions

Payload: TypeAlias = Mapping[str, Any]
"""A JSON object of the application."""


class Position(NamedTuple):
    """A place in a channel's history: the history's epoch, and an offset in it."""

    epoch: str
    offset: int


# The two envelopes and the position are named tuples, because every message needs new ones: a
# frozen dataclass takes several times as long to make.


class ClientMessage(NamedTuple):
    """One request of a client.

    Args:
        since: Where a join resumes the channel's history.
        presence: How a join asks for presence.
        confirm: Whether an event is answered in any case, with `{}` if the handler has no reply.
    """

    action: ClientActions
    event: str
    channel_name: str
    request_id: str
    payload: Payload
    since: Position | None = None
    presence: PresenceMode | None = None
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """A client's question whether the server still answers."""

    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ServerPayload:
    """The base of the server's own payloads. A field that is None is not sent."""


@dataclass(frozen=True, slots=True)
class Connected(ServerPayload):
    """The connection is open.

    Args:
        id: The public id of the user.
        connection_id: The secret id of this connection.
        resumed: The channels that an event stream is joining again, after it has reconnected.
        not_resumed: Those that it was in before, but that cannot be resumed.
        supports: The optional features that the endpoint has: "history".
    """

    id: str
    connection_id: str = field(repr=False)
    resumed: tuple[str, ...] | None = None
    not_resumed: tuple[str, ...] | None = None
    supports: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """One membership's presence in a diff."""

    user: str
    ref: str
    presence: Payload


@dataclass(frozen=True, slots=True)
class PresenceDiff(ServerPayload):
    """The changes of one tick. In an acknowledgement, `joins` is the whole state so far."""

    joins: tuple[PresenceEntry, ...] = ()
    updates: tuple[PresenceEntry, ...] = ()
    leaves: tuple[PresenceEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledged(ServerPayload):
    """A join was accepted."""

    epoch: str | None = None
    offset: int | None = None
    recovered: bool | None = None
    response: Any | None = None
    presence: PresenceDiff | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """One field that is not valid: where it is, what is wrong, and the kind of error."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


@dataclass(frozen=True, slots=True)
class Refused(ServerPayload):
    """A join was refused.

    Args:
        details: Which of its parameters are not valid, ten of them at most.
        error_count: How many are not valid in all.
    """

    code: int
    message: str
    details: tuple[Detail, ...] | None = None
    retry_after_ms: int | None = None
    error_count: int | None = None


@dataclass(frozen=True, slots=True)
class NotFound(ServerPayload):
    """No lobby serves this channel name."""

    channel: str
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Left(ServerPayload):
    """The client has left the channel, or was no member of it."""


@dataclass(frozen=True, slots=True)
class Evicted(ServerPayload):
    """The application ended this membership."""

    reason: str


@dataclass(frozen=True, slots=True)
class PresenceList(ServerPayload):
    """The presence of all users, one object each, and the object that changed."""

    presence: tuple[Payload, ...]
    changed: Payload


@dataclass(frozen=True, slots=True)
class Fault(ServerPayload):
    """A request was not carried out.

    Args:
        details: Which fields of its payload are not valid, ten of them at most.
        error_count: How many are not valid in all.
    """

    error: ErrorTypes
    code: int
    message: str
    details: tuple[Detail, ...] | None = None
    retry_after_ms: int | None = None
    error_count: int | None = None


@dataclass(frozen=True, slots=True)
class Goodbye(ServerPayload):
    """The server is about to close this connection."""

    code: int
    reason: str
    reconnect: bool
    after_ms: int


@dataclass(frozen=True, slots=True)
class Pong(ServerPayload):
    """The answer to a ping."""


# It is `bytes`. Its type does not say so: it has nothing in common with the other payloads.
EncodedPayload = NewType("EncodedPayload", object)
"""A JSON object of the application as JSON text, encoded once for all wire formats; `bytes`."""


MessageParts: TypeAlias = tuple[ServerActions, str, str, str, object, Position | None]
"""A `ServerMessage`, or its fields in a plain tuple, which takes a quarter of the time to make and
half of the time to take apart (tests/benchmarks/microbench.py, "event, the handler replies; core").
"""


class ServerMessage(NamedTuple):
    """One message of the server.

    Args:
        payload: The application's JSON object, or one of the server's own types.
        position: Its place in the channel's history, if the channel has one.
    """

    action: ServerActions
    event: str
    channel_name: str
    request_id: str
    payload: Payload | ServerPayload | EncodedPayload
    position: Position | None = None
