"""What a client tells its application, and what its machine asks of its transports."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from pondsocket_common import ClientMessage, Ping, Position, PresenceDiff

from .errors import PondClientError

TransportName: TypeAlias = Literal["websocket", "sse"]
Outgoing: TypeAlias = ClientMessage | Ping


class TokenReason(StrEnum):
    """Why a client needs a token."""

    CONNECT = "connect"
    REFUSED = "refused"
    """The server did not accept the last one, or accepts it no longer."""


class State(StrEnum):
    """What a client's connection is doing."""

    CONNECTING = "connecting"
    OPEN = "open"
    LEAVING = "leaving"
    """Open, and the server has said that it will close."""
    WAITING = "waiting"
    """Between two attempts."""
    STOPPED = "stopped"
    """Closed, or refused for good: it connects again only if it is told to."""


@dataclass(frozen=True, slots=True)
class Status:
    """A client's connection at one moment.

    Args:
        transport: The one in use, or the last that was.
        code: Why it is not open: the server's close code, or the HTTP status of its refusal; 0 if
            it could not be reached.
        reason: The same in the server's words, or those of the network's error.
        until: The client's clock at its next attempt, if it is waiting.
    """

    state: State
    transport: TransportName = "websocket"
    code: int = 0
    reason: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An event that the server has sent to the members of a channel, or to this one.

    Args:
        position: Its place in the channel's history; None if it is not kept.
    """

    event: str
    payload: Mapping[str, Any]
    channel_name: str
    position: Position | None = None

    @property
    def offset(self) -> int | None:
        """Its offset in the channel's history."""
        return None if self.position is None else self.position.offset


@dataclass(frozen=True, slots=True)
class Gap:
    """What came before this was not all: messages were missed, and cannot be had any more."""

    channel_name: str


RoomEvent: TypeAlias = Message | Gap | PresenceDiff
"""What a channel's iterator yields."""


# --- what the machine asks for ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection.

    Args:
        attempt: Its number, under which its events are told.
        token_reason: Why a new token is needed; None: the last one will do.
    """

    attempt: int
    transport: TransportName
    token_reason: TokenReason | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Let go of the connection: nothing that it still says counts."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether a WebSocket opens by now, beside the stream that is open."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send on the connection that is open."""

    messages: tuple[Outgoing, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A request has its answer: what the server said, or an error."""

    request_id: str
    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Something has come for a channel."""

    channel_name: str
    event: RoomEvent


@dataclass(frozen=True, slots=True)
class Joined:
    """A channel is joined.

    Args:
        recovered: None for the first time; after a loss, whether nothing was missed.
    """

    channel_name: str
    recovered: bool | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """A channel has ended; None: the application has left it."""

    channel_name: str
    error: PondClientError | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that wanted no answer was refused."""

    channel_name: str
    error: PondClientError


@dataclass(frozen=True, slots=True)
class Changed:
    """The connection's status has changed."""

    status: Status


Effect: TypeAlias = (
    Connect | Disconnect | Probe | Send | Answer | Joined | Tell | Failed | Over | Changed
)
