"""What a door knows of somebody who knocks, and the answer that lets nobody in."""

from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

from pondsocket_common import ErrorTypes, Headers, QueryParams, dump_json, parse_cookies

Transport: TypeAlias = Literal["websocket", "sse"]


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A request for a connection.

    Args:
        path: Percent-decoded once, relative to where the application is mounted.
        address: The peer, `host:port`, as far as the server knows it.
        subprotocols: What a WebSocket client offers to speak, best first.
    """

    path: str
    headers: Headers
    query: QueryParams
    address: str | None
    transport: Transport
    subprotocols: tuple[str, ...] = ()
    _cookies: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        if self._cookies is None:
            object.__setattr__(self, "_cookies", parse_cookies(self.headers))
        return self._cookies or {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused.

    Args:
        status: The HTTP status, 400 to 599.
        error: The machine-readable name.
        message: The sentence for the peer.
        retry_after: In how many seconds it may work.
    """

    status: int
    error: str
    message: str
    retry_after: int | None = None

    def __post_init__(self) -> None:
        # What UTF-8 cannot say, such as half of a path's name, must not get in the answer's way.
        readable = str(self.message).encode(errors="replace").decode()
        object.__setattr__(self, "message", readable)

    @classmethod
    def leaving(cls) -> Self:
        """What a server says that is closing."""
        return cls(503, "UNAVAILABLE", "The server is closing.", retry_after=1)

    def body(self) -> bytes:
        """The JSON body of the HTTP response."""
        return dump_json({"error": self.error, "code": self.status, "message": self.message})


def refuse_connection(code: int, message: str) -> Refusal:
    """A refusal with the status that a decline code means.

    400-599 are themselves, 4400-4599 (the WebSocket close codes of the same) lose their 4000,
    and anything else is a plain 403.
    """
    status = code - 4000 if 4400 <= code <= 4599 else code
    if not 400 <= status <= 599:
        status = 403
    return Refusal(status, ErrorTypes.UNAUTHORIZED_CONNECTION, message)
