"""When a client connects, over which transport, and whether at all; pure.

The delay before an attempt is what the server asks for, plus a random time up to a limit that
doubles with each failure ("full jitter"): clients that were cut together come back apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pondsocket_common import CloseCode, Goodbye

from .errors import Ended, Refused
from .values import TokenReason, TransportName

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
# A server that accepts and closes at once has not recovered.
STABLE_SECONDS: Final = 5.0
BLOCKED_TWICE: Final = 2
# Beyond 2^6 x 0.5 s the limit is the longest delay.
_MOST_DOUBLINGS: Final = 10

_LATER: Final = (408, 425, 429)
_KNOWN_CODES: Final = frozenset(map(int, CloseCode))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows on the end of a connection.

    Args:
        stops: The client is not to come back.
        after: The seconds that the server asks for.
    """

    stops: bool = False
    after: float = 0.0


class Attempts:
    """The attempts of one client.

    Args:
        transports: Those that may be used, the preferred one first.
        random: Returns a number from 0 to 1.
    """

    def __init__(
        self, transports: Sequence[TransportName], random: Callable[[], float], has_token: bool
    ) -> None:
        self._transports = tuple(transports)
        self._random = random
        self._has_token = has_token
        self._failures = 0
        self._blocked = 0
        self._is_fallen_back = False
        self._opened_at: float | None = None
        self._token_was_fresh = False
        self._token_reason: TokenReason | None = TokenReason.CONNECT if has_token else None

    def begin_anew(self) -> None:
        """Forget what came before: the application asks for a connection."""
        self._failures = self._blocked = 0
        self._is_fallen_back = self._token_was_fresh = False
        self._token_reason = TokenReason.CONNECT if self._has_token else None

    @property
    def is_fallen_back(self) -> bool:
        """Whether it uses event streams because WebSockets did not open."""
        return self._is_fallen_back

    def next_transport(self) -> TransportName:
        """Return the transport of the next attempt."""
        first, *others = self._transports
        is_blocked = self._blocked >= BLOCKED_TWICE or self._is_fallen_back
        return others[0] if is_blocked and others and first == "websocket" else first

    def prefer_websocket(self) -> None:
        """Note that WebSockets open again."""
        self._is_fallen_back = False

    def take_token_reason(self) -> TokenReason | None:
        """Return why the next attempt needs a new token; None: the last one will do."""
        reason, self._token_reason = self._token_reason, None
        if reason is TokenReason.REFUSED:
            self._token_was_fresh = True
        return reason

    def opened(self, now: float, transport: TransportName) -> None:
        """Note that a connection is open."""
        self._opened_at = now
        if transport == "sse" and self._blocked >= BLOCKED_TWICE:
            self._is_fallen_back = True
        self._blocked = 0

    def ended(
        self, now: float, transport: TransportName, end: Ended, goodbye: Goodbye | None
    ) -> Verdict:
        """Judge the end of a connection, or of an attempt."""
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is not None:
            if now - opened_at >= STABLE_SECONDS:
                self._failures = 0
                self._token_was_fresh = False
        elif transport == "websocket" and _tells_nothing(end):
            self._blocked += 1
        else:
            self._blocked = 0
        return self._verdict(end, goodbye)

    def _verdict(self, end: Ended, goodbye: Goodbye | None) -> Verdict:
        if isinstance(end, Refused):
            return self._of_status(end)
        code = end.code if goodbye is None else goodbye.code
        if code == CloseCode.UNAUTHENTICATED:
            return self._with_new_token()
        if goodbye is not None:
            return Verdict(stops=not goodbye.reconnect)
        if code in _KNOWN_CODES:
            return Verdict(stops=not CloseCode(code).reconnect)
        # The refusal of an ASGI server that cannot answer with HTTP: 4000 + status.
        return self._of_status(Refused(code - 4000)) if 4400 <= code < 4600 else Verdict()

    def _of_status(self, refused: Refused) -> Verdict:
        match refused.code:
            case 401:
                return self._with_new_token()
            case 426:  # a proxy has dropped the request's `Upgrade`
                self._blocked = BLOCKED_TWICE
                return Verdict(stops=len(self._transports) == 1)
            case code if code in _LATER or code >= 500:
                return Verdict(after=refused.retry_after or 0.0)
            case code:
                return Verdict(stops=code >= 400)

    def _with_new_token(self) -> Verdict:
        # Once: a token that was made for this attempt and is refused will not be accepted later.
        if not self._has_token or self._token_was_fresh:
            return Verdict(stops=True)
        self._token_reason = TokenReason.REFUSED
        return Verdict()

    def delay(self, after: float = 0.0) -> float:
        """Return the seconds until the next attempt, which count as one more failure."""
        self._failures += 1
        return after + jittered(self._random, self._failures - 1)


def _tells_nothing(end: Ended) -> bool:
    """Whether an attempt failed as in a network that blocks WebSockets."""
    return not isinstance(end, Refused) and end.code in (0, 1006)


def jittered(random: Callable[[], float], failures: int) -> float:
    """Return a random time up to a limit that doubles with each failure, in seconds."""
    doubled = FIRST_DELAY_SECONDS * (1 << min(failures, _MOST_DOUBLINGS))
    return random() * min(LONGEST_DELAY_SECONDS, doubled)
