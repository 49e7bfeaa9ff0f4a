"""The errors of a backplane, by what the caller may rely on.

PondError
  BackplaneUnavailable    503: the engine cannot be reached; nothing was done
  PublishUncertain        503: the engine may have the message, or not
BackplaneError            the engine cannot be used as it is configured
LinkLost                  the link has ended; the engine may have carried it out
"""

from typing import Final

from pondsocket_common import PondSocketError

from pondsocket._errors import PondError

# A new link takes less, once the engine is there again.
_RETRY_SECONDS: Final = 1.0


class BackplaneUnavailable(PondError):  # noqa: N818 - a state of the world
    """The engine cannot be reached. Nothing was done, and it may be tried again."""

    def __init__(self, message: str = "The other servers cannot be reached.") -> None:
        super().__init__(message, 503, retry_after=_RETRY_SECONDS)


class PublishUncertain(PondError):  # noqa: N818 - a state of the world
    """The link has ended while the engine was asked. It may have the message, or not."""

    def __init__(self, message: str = "It is not known whether the message was sent.") -> None:
        super().__init__(message, 503)


class BackplaneError(PondSocketError):
    """The engine cannot be used as it is configured; the message says what to change."""


class LinkLost(PondSocketError):  # noqa: N818 - a state of the world
    """The link has ended while the engine was asked. For engines and nodes, not applications."""
