"""The closed sets of the protocol: actions, event names, error names, close codes."""

from enum import IntEnum, StrEnum
from typing import Final

GATEWAY: Final = "GATEWAY"
"""The channel name of the endpoint itself."""


class ClientActions(StrEnum):
    """The kind of a client's request."""

    JOIN_CHANNEL = "JOIN_CHANNEL"
    LEAVE_CHANNEL = "LEAVE_CHANNEL"
    BROADCAST = "BROADCAST"


class ServerActions(StrEnum):
    """The kind of a server's message."""

    CONNECT = "CONNECT"
    SYSTEM = "SYSTEM"
    BROADCAST = "BROADCAST"
    PRESENCE = "PRESENCE"
    ERROR = "ERROR"


class SystemEvents(StrEnum):
    """The server's own event names. Applications may not use those in `RESERVED_EVENTS`."""

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
    """How the presence list of a channel changed."""

    JOIN = "JOIN"
    UPDATE = "UPDATE"
    LEAVE = "LEAVE"
    DIFF = "DIFF"


class PresenceMode(StrEnum):
    """The form of presence that a member asks for; by default it gets whole lists."""

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
    """The recipients of a broadcast that names no users."""

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
        """Whether a client should reconnect, if need be after a pause or with new credentials."""
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
