"""Whose fault it is.

PondSocketError           (pondsocket_common)
  InvalidMessage          the peer's, answered with its reason
  EncodingError           the caller's: a payload that JSON cannot say
  UsageError              the caller's: a call that cannot work as written
  PondError               nobody's: the application says no, with its own code and words
"""

from collections.abc import Sequence
from typing import Final

from pondsocket_common import Detail, PondSocketError, dump_json

# JSON takes up to six bytes for a character: details, text and names stay below 8 KiB together.
MAX_DETAILS: Final = 10
MAX_TEXT_CHARS: Final = 256
_MAX_KEY_CHARS: Final = 64
_MAX_LEVELS: Final = 8
_MAX_DETAILS_BYTES: Final = 3_584


class UsageError(PondSocketError, RuntimeError):
    """The library was called in a way that cannot work; the message says what to write."""


class InvalidPayload(PondSocketError):  # noqa: N818 - named by what the peer sent
    """A payload does not fit what the handler asks for.

    What the client is told of it is bounded: ten details, and 8 KiB with all that is around them.

    Args:
        details: Which fields, and why.
        count: How many there are in all; None: those are all.
    """

    def __init__(self, details: Sequence[Detail], count: int | None = None) -> None:
        self.count = len(details) if count is None else count
        self.details = _bounded(details)
        fields = ", ".join(".".join(map(str, each.loc)) or "payload" for each in self.details)
        super().__init__(_shortened(f"What was sent does not fit: {fields}", MAX_TEXT_CHARS) + ".")


def _bounded(details: Sequence[Detail]) -> tuple[Detail, ...]:
    kept: list[Detail] = []
    size = 0
    for detail in details[:MAX_DETAILS]:
        short = Detail(
            _shortened_loc(detail.loc),
            _shortened(detail.msg, MAX_TEXT_CHARS),
            _shortened(detail.type, _MAX_KEY_CHARS),
        )
        size += len(dump_json(short))
        if kept and size > _MAX_DETAILS_BYTES:
            break
        kept.append(short)
    return tuple(kept)


def _shortened_loc(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    # Names of fields that the client has chosen stand in it, and as many levels as it likes.
    keys = [_shortened(key, _MAX_KEY_CHARS) if isinstance(key, str) else key for key in loc]
    return tuple(keys) if len(keys) <= _MAX_LEVELS else (*keys[:_MAX_LEVELS], "…")


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


class PondError(PondSocketError):
    """Raise it in a handler to answer the request with an error of the application's own.

    Args:
        message: The sentence the client gets; every other exception's text stays on the server.
        code: A number of the application's choice, by convention an HTTP status, 400 to 599.

    Raises:
        UsageError: The code is no such number.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        check_code(code)
        # What UTF-8 cannot say, such as half of a file's name, must not get in the answer's way.
        self.message = message.encode(errors="replace").decode()
        self.code = code


def check_code(code: object) -> None:
    """Refuse what clients could not read as an error code.

    Raises:
        UsageError: It is no number of the usual size.
    """
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 9_999:
        raise UsageError(
            f"An error's code is a number, by convention an HTTP status, 400 to 599, not {code!r}."
        )
