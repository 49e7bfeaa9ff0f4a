"""A client's request to connect, and its refusal."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias

from pondsocket_common import ErrorTypes, Headers, QueryParams, dump_json, parse_cookies

from pondsocket._errors import HeaderPairs, merged

Transport: TypeAlias = Literal["websocket", "sse"]

NO_SCOPE: Final[Mapping[str, Any]] = MappingProxyType({})
"""The scope of a request that did not come by ASGI, or was decided."""

# RFC 9110, section 15.5.2: a 401 names a challenge. Of the registered schemes, browsers ask the
# user for a password at `Basic` and do nothing at `Bearer`.
_CHALLENGE: Final = ("www-authenticate", "Bearer")
# Browsers cannot set headers of a handshake. A subprotocol's name has neither `=` nor blanks, which
# base64url without padding does not need.
_BEARER_PREFIX: Final = "base64url.bearer."
BEARER: Final = "bearer"
"""The subprotocol behind which the next one is a token: `new WebSocket(url, ["bearer", token])`."""
# Where nothing is said, in seconds: long enough to let a full or failing server recover, and short
# enough that the user still waits.
_RETRY_AFTER: Final = 5


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A request for a connection.

    Args:
        path: Percent-decoded once, relative to where the application is mounted.
        address: The peer's IP address; None if the server does not know it.
        subprotocols: The subprotocols that a WebSocket client offers, best first.
        scope: The ASGI scope, read-only, until the connection handler has decided; then, and
            without ASGI, empty.
        port: The peer's port; None if the server does not know it.
    """

    path: str
    headers: Headers
    query: QueryParams
    address: str | None
    transport: Transport
    subprotocols: tuple[str, ...] = ()
    scope: Mapping[str, Any] = field(default_factory=lambda: NO_SCOPE, repr=False, compare=False)
    port: int | None = None
    _cookies: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        if self._cookies is None:
            object.__setattr__(self, "_cookies", parse_cookies(self.headers))
        return self._cookies or {}

    @property
    def token(self) -> str | None:
        """The bearer token that the client brings; None if it brings none, or no readable one.

        It comes from the header `Authorization`, else from the subprotocols `base64url.bearer.…`
        (the token in base64url without padding) or `bearer` and the token behind it.
        """
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip() or None
        offered = iter(self.subprotocols)
        for name in offered:
            if name.startswith(_BEARER_PREFIX):
                return _decoded(name.removeprefix(_BEARER_PREFIX))
            if name == BEARER:
                return next(offered, None)
        return None

    def let_go(self) -> None:
        """Let the scope go: a connection lives long, and holds what a host put into it.

        Also the cookies as they were parsed, which are parsed anew if they are read again.
        """
        object.__setattr__(self, "scope", NO_SCOPE)
        if self._cookies is not None:
            object.__setattr__(self, "_cookies", None)


def _decoded(text: str) -> str | None:
    """Return a token that was written in base64url without padding."""
    try:
        padded = text + "=" * (-len(text) % 4)
        return b64decode(padded, altchars=b"-_", validate=True).decode() or None
    except (binascii.Error, ValueError):  # ValueError: a letter beyond ASCII, or no UTF-8
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused.

    Args:
        status: The HTTP status, 400 to 599.
        error: The machine-readable name.
        message: The sentence for the peer.
        retry_after: After how many seconds a retry may succeed.
        headers: Headers of the application's own.
    """

    status: int
    error: str
    message: str
    retry_after: int | None = None
    headers: HeaderPairs = ()

    def __post_init__(self) -> None:
        # Replace what UTF-8 cannot encode, such as a lone surrogate from a path.
        readable = str(self.message).encode(errors="replace").decode()
        object.__setattr__(self, "message", readable)

    @classmethod
    def draining(cls) -> Self:
        """Return the refusal of a server that is closing."""
        return cls(503, "UNAVAILABLE", "The server is closing.", retry_after=1)

    def with_headers(self, headers: HeaderPairs) -> Self:
        """Return it with more headers, which replace none of its own."""
        return replace(self, headers=merged(headers, self.headers)) if headers else self

    def response_headers(self) -> HeaderPairs:
        """Return the headers that say why, and when to come back."""
        named = {name for name, _ in self.headers}
        more: list[tuple[str, str]] = []
        if self.status == 401 and "www-authenticate" not in named:
            more.append(_CHALLENGE)
        seconds = self.retry_after
        if seconds is None and self.status in (429, 503):
            seconds = _RETRY_AFTER
        if seconds is not None and "retry-after" not in named:
            more.append(("retry-after", str(seconds)))
        return (*more, *self.headers)

    def body(self) -> bytes:
        """Return the JSON body of the HTTP response."""
        return dump_json({"error": self.error, "code": self.status, "message": self.message})


def refuse_connection(code: int, message: str, headers: HeaderPairs = ()) -> Refusal:
    """Return a refusal with the status that a decline code means.

    400 to 599 is the status itself; 4400 to 4599, the corresponding WebSocket close codes, is the
    status plus 4000; anything else means 403.
    """
    status = code - 4000 if 4400 <= code <= 4599 else code
    if not 400 <= status <= 599:
        status = 403
    return Refusal(status, ErrorTypes.UNAUTHORIZED_CONNECTION, message, headers=headers)
