"""Which web pages may connect. Pure, but for a log line: headers in, a verdict out.

A browser sends a host's cookies with every request to that host, even if a page of another host
makes the request; and it lets every page open a WebSocket to any host. But its `Origin` header
names the page's origin. So a page of a foreign origin is refused, whatever credentials it sends. A
client without an `Origin` is not a browser, and has no visitor's cookies that it could abuse.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from pondsocket import PondSocket
from pondsocket.adapter import Refusal, get_log
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    AllowedOrigins,
    ErrorTypes,
    Headers,
    is_own_origin,
    parse_origin,
)

logger = get_log("pondsocket.asgi.security")

HeaderList: TypeAlias = Sequence[tuple[bytes, bytes]]

# Without these headers no web page is recognised: see `whose_page`.
_TELLING: Final = frozenset({b"origin", b"sec-fetch-mode"})
_METHODS: Final = b"GET, POST, DELETE"
_EXPOSED: Final = b"X-Connection-ID, Retry-After"
# What streams and POSTs need, and what applications identify their users by.
_REQUEST_HEADERS: Final = ("authorization", "content-type", "last-event-id", CONNECTION_ID_HEADER)
_HEADER_NAMES: Final = re.compile(r"[a-z0-9-]+(?: *, *[a-z0-9-]+)*", re.IGNORECASE)
_MAX_HEADER_NAMES: Final = 1_024
# Ten minutes: the longest that most browsers keep an answer. Otherwise every POST would ask.
_PREFLIGHT_SECONDS: Final = b"600"


class Page(Enum):
    """The origin of the web page that makes a request."""

    NONE = "none: not a browser, or a page of this very origin"
    OWN = "one of the host itself"
    LISTED = "one that allowed_origins names"
    FOREIGN = "one of another origin"


def whose_page(headers: Headers, allowed: AllowedOrigins) -> Page:
    """Judge a request by its `Origin` and `Host`.

    `X-Forwarded-Host` does not count: every client can send it. A trusted server or proxy puts the
    host that the browser asked for into `Host`.
    """
    origins, hosts = headers.getall("origin"), headers.getall("host")
    if not origins:
        return Page.FOREIGN if _hides_its_origin(headers) else Page.NONE
    if len(origins) > 1:
        return Page.FOREIGN
    if allowed.allows(origins[0]):
        return Page.LISTED
    origin = parse_origin(origins[0])
    if origin is not None and len(hosts) == 1 and is_own_origin(origin, hosts[0]):
        return Page.OWN
    return Page.FOREIGN


def _hides_its_origin(headers: Headers) -> bool:
    # A "no-cors" request has no `Origin`, and its page cannot read the answer; but it would still
    # open a stream with the visitor's cookies (Fetch Standard, "no-cors"; W3C Fetch Metadata).
    return headers.get("sec-fetch-mode") == "no-cors" and (
        headers.get("sec-fetch-site") in ("cross-site", "same-site")
    )


class Verdict(NamedTuple):
    """The refusal of a request, if it is refused, and the headers that its response must have."""

    refusal: Refusal | None
    headers: HeaderList


_NOTHING_TO_SAY: Final = Verdict(None, ())


class OriginCheck:
    """Checks the origin of every request, before any other check."""

    def __init__(self, pond: PondSocket, clock: Callable[[], float] = time.monotonic) -> None:
        self._pond = pond
        self._log = RefusalLog(clock)

    def check(self, path: str, headers: Headers) -> Verdict:
        """Judge a request to a path below the mount.

        Listed pages get CORS headers with every response, errors included: otherwise they could not
        read it (Fetch Standard, section 3.2). Pages of the host itself need none.
        """
        if not headers.has_any(_TELLING):
            return _NOTHING_TO_SAY
        owner = self._pond.find_endpoint(path) or self._pond.options
        match whose_page(headers, _compiled(tuple(owner.allowed_origins))):
            case Page.LISTED:
                return Verdict(None, _cors(headers["origin"]))
            case Page.FOREIGN:
                self._log.refused(headers, path)
                text = "Pages of this origin may not connect."
                refusal = Refusal(403, ErrorTypes.UNAUTHORIZED_CONNECTION, text)
                return Verdict(refusal, [(b"vary", b"Origin")])
            case _:
                return _NOTHING_TO_SAY


# Cached: there are few endpoints, and their lists never change.
@lru_cache
def _compiled(entries: tuple[str, ...]) -> AllowedOrigins:
    return AllowedOrigins(entries)


def _cors(origin: str) -> HeaderList:
    # Never "*": browsers refuse it together with cookies, and it would allow every origin.
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(headers: Headers) -> HeaderList:
    """Return the headers that allow a listed page what it asks for, beside its CORS headers."""
    asked = ",".join(headers.getall("access-control-request-headers"))
    names = list(_REQUEST_HEADERS)
    if len(asked) <= _MAX_HEADER_NAMES and _HEADER_NAMES.fullmatch(asked):
        names += [name.strip().lower() for name in asked.split(",")]
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", ", ".join(dict.fromkeys(names)).encode()),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
    ]


class RefusalLog:
    """Logs each refused origin once, and so few that clients cannot fill the log."""

    LINES: Final = 10
    SECONDS: Final = 60.0
    REMEMBERED: Final = 256

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: deque[tuple[str, ...]] = deque(maxlen=self.REMEMBERED)
        self._lines: deque[float] = deque(maxlen=self.LINES)

    def refused(self, headers: Headers, path: str) -> None:
        """Log that a page was refused."""
        origins = tuple(map(_short, headers.getall("origin")[:2]))
        if origins in self._said:
            return
        now = self._clock()
        if len(self._lines) == self.LINES and now - self._lines[0] < self.SECONDS:
            return
        self._said.append(origins)
        self._lines.append(now)
        logger.warning(
            "A page of %s may not connect (host=%r path=%r). If it is one of yours, name it in"
            " allowed_origins, of the endpoint or of Options. If it is the host's own, have the"
            " proxy in front pass Host on with its port.",
            " and ".join(map(repr, origins)) or "an origin that it hides",
            _short(headers.get("host", "")),
            _short(path),
        )


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "..."
