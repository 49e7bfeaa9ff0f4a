"""The messages, as frozen types. What they look like on the wire is `_codec`'s business.

A `ClientMessage` and a `ServerMessage` are the envelope. Payloads of the application are plain
mappings; payloads that the server owns have a type each, in the order of the protocol's table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ._enums import ClientActions, ErrorTypes, PresenceMode, ServerActions

Payload: TypeAlias = Mapping[str, Any]
"""A JSON object of the application."""


class Position(NamedTuple):
    """A place in a channel's history: the history's life and a count within it."""

    epoch: str
    offset: int


# The two envelopes, and the position, are named tuples because one is made for every message: a
# frozen dataclass takes several times as long to make.


class ClientMessage(NamedTuple):
    """One request of a client."""

    action: ClientActions
    event: str
    channel_name: str
    request_id: str
    payload: Payload
    since: Position | None = None
    presence: PresenceMode | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """A client's bare question whether the server is there."""

    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ServerPayload:
    """The base of the payloads that the server owns; a field that is None stays off the wire."""


@dataclass(frozen=True, slots=True)
class Connected(ServerPayload):
    """Connected: the public id, the secret of this connection, and what was resumed.

    Args:
        supports: What the endpoint can do beyond what every one can: "history".
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
    """What changed within one tick; on an acknowledgement, the state so far as `joins`."""

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
    """One field that does not fit: where it is, what is wrong, and the kind of fault."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


@dataclass(frozen=True, slots=True)
class Refused(ServerPayload):
    """A join was refused.

    Args:
        details: What of its parameters does not fit, ten of them at most.
        error_count: How much does not fit in all.
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
    """A leave was done, or there was nothing to leave."""


@dataclass(frozen=True, slots=True)
class Evicted(ServerPayload):
    """The application ended this membership."""

    reason: str


@dataclass(frozen=True, slots=True)
class PresenceList(ServerPayload):
    """Everybody's presence, one object a user, and the object that changed."""

    presence: tuple[Payload, ...]
    changed: Payload


@dataclass(frozen=True, slots=True)
class Fault(ServerPayload):
    """A request was not carried out.

    Args:
        details: What of its payload does not fit, ten of them at most.
        error_count: How much does not fit in all.
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


class ServerMessage(NamedTuple):
    """One message of the server.

    Args:
        position: Where it stands in the channel's history, if there is one.
    """

    action: ServerActions
    event: str
    channel_name: str
    request_id: str
    payload: Payload | ServerPayload
    position: Position | None = None
