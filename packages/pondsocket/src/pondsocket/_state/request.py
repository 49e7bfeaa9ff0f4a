"""A client's request to connect, and its refusal."""

from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

from pondsocket_common import ErrorTypes, Headers, QueryParams, dump_json, parse_cookies

Transport: TypeAlias = Literal["websocket", "sse"]


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A request for a connection.

    Args:
        path: Percent-decoded once, relative to where the application is mounted.
        address: The peer's `host:port`; None if the server does not know it.
        subprotocols: The subprotocols that a WebSocket client offers, best first.
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
        retry_after: After how many seconds a retry may succeed.
    """

    status: int
    error: str
    message: str
    retry_after: int | None = None

    def __post_init__(self) -> None:
        # Replace what UTF-8 cannot encode, such as a lone surrogate from a path.
        readable = str(self.message).encode(errors="replace").decode()
        object.__setattr__(self, "message", readable)

    @classmethod
    def draining(cls) -> Self:
        """Return the refusal of a server that is closing."""
        return cls(503, "UNAVAILABLE", "The server is closing.", retry_after=1)

    def body(self) -> bytes:
        """Return the JSON body of the HTTP response."""
        return dump_json({"error": self.error, "code": self.status, "message": self.message})


def refuse_connection(code: int, message: str) -> Refusal:
    """Return a refusal with the status that a decline code means.

    400 to 599 is the status itself; 4400 to 4599, the corresponding WebSocket close codes, is the
    status plus 4000; anything else means 403.
    """
    status = code - 4000 if 4400 <= code <= 4599 else code
    if not 400 <= status <= 599:
        status = 403
    return Refusal(status, ErrorTypes.UNAUTHORIZED_CONNECTION, message)
