"""The closed sets of the protocol: actions, event names, error names, close codes."""

from enum import IntEnum, StrEnum
from typing import Final

GATEWAY: Final = "GATEWAY"
"""The channel name of the endpoint itself."""


class ClientActions(StrEnum):
    """What a client asks for."""

    JOIN_CHANNEL = "JOIN_CHANNEL"
    LEAVE_CHANNEL = "LEAVE_CHANNEL"
    BROADCAST = "BROADCAST"


class ServerActions(StrEnum):
    """What kind of message the server sends."""

    CONNECT = "CONNECT"
    SYSTEM = "SYSTEM"
    BROADCAST = "BROADCAST"
    PRESENCE = "PRESENCE"
    ERROR = "ERROR"


class SystemEvents(StrEnum):
    """Event names the server speaks for itself; those in `RESERVED_EVENTS` it keeps for itself."""

    ACKNOWLEDGE = "ACKNOWLEDGE"
    EXIT_ACKNOWLEDGE = "EXIT_ACKNOWLEDGE"
    CONNECTION = "CONNECTION"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    NOT_FOUND = "NOT_FOUND"
    UNAUTHORIZED = "UNAUTHORIZED"
    EVICTED = "EVICTED"
    GOODBYE = "GOODBYE"
    PONG = "PONG"


# A broadcast named UNAUTHORIZED would make every published client leave the channel.
RESERVED_EVENTS: Final[frozenset[str]] = frozenset(SystemEvents) - {SystemEvents.INTERNAL_ERROR}


class PresenceEventTypes(StrEnum):
    """What happened to the presence list of a channel."""

    JOIN = "JOIN"
    UPDATE = "UPDATE"
    LEAVE = "LEAVE"
    DIFF = "DIFF"


class PresenceMode(StrEnum):
    """How a member asked to be told of presence: whole lists (the default) or diffs."""

    DIFF = "diff"


class ErrorTypes(StrEnum):
    """The machine-readable name of an error."""

    UNAUTHORIZED_CONNECTION = "UNAUTHORIZED_CONNECTION"
    UNAUTHORIZED_JOIN_REQUEST = "UNAUTHORIZED_JOIN_REQUEST"
    UNAUTHORIZED_BROADCAST = "UNAUTHORIZED_BROADCAST"
    INVALID_MESSAGE = "INVALID_MESSAGE"
    HANDLER_NOT_FOUND = "HANDLER_NOT_FOUND"
    PRESENCE_ERROR = "PRESENCE_ERROR"
    CHANNEL_ERROR = "CHANNEL_ERROR"
    ENDPOINT_ERROR = "ENDPOINT_ERROR"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_CHANNELS = "TOO_MANY_CHANNELS"


class ChannelReceiver(StrEnum):
    """Who receives a broadcast, where no user is named."""

    ALL_USERS = "ALL_USERS"
    ALL_EXCEPT_SENDER = "ALL_EXCEPT_SENDER"


class CloseCode(IntEnum):
    """Why the server ends a connection; the number is the WebSocket close code."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    BAD_REQUEST = 4400
    UNAUTHENTICATED = 4401
    DISCONNECTED = 4403
    NOT_FOUND = 4404
    SLOW_CONSUMER = 4408
    RATE_LIMITED = 4429
    NO_CAPACITY = 4503

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back, if need be after a pause or with new credentials."""
        return self not in _FINAL_CODES


_FINAL_CODES: Final = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.TOO_BIG,
        CloseCode.BAD_REQUEST,
        CloseCode.DISCONNECTED,
        CloseCode.NOT_FOUND,
    }
)
