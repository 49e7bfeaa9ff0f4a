"""What goes wrong between a client and its server.

PondSocketError           (pondsocket_common)
  PondClientError         raised to the application: what the server said, or why it was not asked
Ended                     of a transport: why a connection has ended, or was not opened
  Refused                 the server has answered, with an HTTP status
"""

from dataclasses import dataclass
from typing import Final

import pondsocket_common as common
from pondsocket_common import Detail, Fault, PondSocketError

LOST: Final = "LOST"
UNSENT: Final = "UNSENT"
LEFT: Final = "LEFT"
CLOSED: Final = "CLOSED"
EVICTED: Final = "EVICTED"


class PondClientError(PondSocketError):
    """A request of a client has failed, or its channel or connection has ended.

    Attributes:
        error: Its name: that of the server's error, such as `HANDLER_NOT_FOUND`; `UNAUTHORIZED` or
            `NOT_FOUND` for a join that was refused; `EVICTED`; or one of the client's own:
            `LOST` (sent, and the connection ended before the answer: it may have been handled),
            `UNSENT` (certainly not sent: the queue was full, or it waited there too long), `LEFT`
            (the channel), `CLOSED` (the client).
        code: The server's number; 0 for the client's own errors.
        message: A sentence for a person.
        details: Which fields do not fit, if the server says so.
        retry_after: After how many seconds the client may try again; None: it was not told.
    """

    def __init__(
        self,
        error: str,
        message: str,
        code: int = 0,
        *,
        details: tuple[Detail, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{error} ({code}): {message}" if code else f"{error}: {message}")
        self.error: str = error
        self.code: int = code
        self.message: str = message
        self.details: tuple[Detail, ...] = details
        self.retry_after: float | None = retry_after


def told(error: str, what: Fault | common.Refused) -> PondClientError:
    """Return what the server has told as an error of this name."""
    after_ms = what.retry_after_ms
    return PondClientError(
        error,
        what.message,
        what.code,
        details=what.details or (),
        retry_after=None if after_ms is None else after_ms / 1000,
    )


@dataclass(eq=False)
class Ended(Exception):  # noqa: N818 - a connection's end is no error of the program
    """A connection has ended.

    Args:
        code: The close code of a WebSocket; 0: there was none.
        reason: The server's words, or those of the network's error.
    """

    code: int = 0
    reason: str = ""


@dataclass(eq=False)
class Refused(Ended):
    """The server has answered a request to connect, or a POST, with an HTTP status.

    Args:
        code: The status.
        reason: The server's words.
        error: The name of the error, if the answer is one of a PondSocket server.
        retry_after: Its `Retry-After`, in seconds.
    """

    error: str = ""
    retry_after: float | None = None
