"""The errors, by whose fault they are.

PondSocketError           (pondsocket_common)
  InvalidMessage          the client's, answered with its reason
  InvalidPayload          the client's, answered with the fields that do not fit
  EncodingError           the caller's: a payload that cannot be written as JSON
  UsageError              the caller's: a call that cannot work as written
  PondError               no fault: the application refuses, with its own code and message
"""

from collections.abc import Sequence
from typing import Final

from pondsocket_common import Detail, PondSocketError, dump_json

# As JSON, so that details, text and names are below 8 KiB together, whatever characters they hold.
MAX_DETAILS: Final = 10
_MAX_TEXT_BYTES: Final = 512
_MAX_KEY_BYTES: Final = 128
_MAX_LEVELS: Final = 8
_MAX_DETAILS_BYTES: Final = 4_096


class UsageError(PondSocketError, RuntimeError):
    """A call of the library cannot work; the message says what to write."""


class InvalidPayload(PondSocketError):  # noqa: N818 - named by what the client sent
    """A payload does not fit what the handler asks for.

    The answer to the client is bounded: ten details, and 8 KiB in all.

    Args:
        details: The fields that do not fit, and why.
        count: How many there are in all; None: these are all.
    """

    def __init__(self, details: Sequence[Detail], count: int | None = None) -> None:
        self.count = len(details) if count is None else count
        self.details = _bounded(details)
        fields = ", ".join(".".join(map(str, each.loc)) or "payload" for each in self.details)
        super().__init__(_shortened(f"What was sent does not fit: {fields}", _MAX_TEXT_BYTES) + ".")


def _bounded(details: Sequence[Detail]) -> tuple[Detail, ...]:
    kept: list[Detail] = []
    size = 0
    for detail in details[:MAX_DETAILS]:
        short = Detail(
            _shortened_loc(detail.loc),
            _shortened(detail.msg, _MAX_TEXT_BYTES),
            _shortened(detail.type, _MAX_KEY_BYTES),
        )
        size += len(dump_json(short))
        if kept and size > _MAX_DETAILS_BYTES:
            break
        kept.append(short)
    return tuple(kept)


def _shortened_loc(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    # The client can choose names of fields in it, and the number of levels.
    keys = [_shortened(key, _MAX_KEY_BYTES) if isinstance(key, str) else key for key in loc]
    return tuple(keys) if len(keys) <= _MAX_LEVELS else (*keys[:_MAX_LEVELS], "…")


def _shortened(text: str, max_bytes: int) -> str:
    short = text[:max_bytes]
    while len(dump_json(short)) > max_bytes:
        short = short[: len(short) * 3 // 4]
    return text if len(short) == len(text) else f"{short}…"


class PondError(PondSocketError):
    """An error of the application's own. Raise it in a handler to answer the request with it.

    Args:
        message: The text that the client gets. Other exceptions' texts stay on the server.
        code: A number of the application's choice; by convention an HTTP status, 400 to 599.

    Raises:
        UsageError: The code is not an integer from 0 to 9,999.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        check_code(code)
        # What UTF-8 cannot encode, such as part of a file name, must not stop the answer.
        self.message = message.encode(errors="replace").decode()
        self.code = code


def check_code(code: object) -> None:
    """Refuse a code that clients could not read as an error code.

    Raises:
        UsageError: It is not an integer from 0 to 9,999.
    """
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 9_999:
        raise UsageError(
            f"An error's code is a number, by convention an HTTP status, 400 to 599, not {code!r}."
        )
