"""The errors, by whose fault they are.

PondSocketError           (pondsocket_common)
  InvalidMessage          the client's, answered with its reason
  InvalidPayload          the client's, answered with the fields that do not fit
  EncodingError           the caller's: a payload that cannot be written as JSON
  UsageError              the caller's: a call that cannot work as written
  PondError               no fault: the application refuses, with its own code and message
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypeGuard

from pondsocket_common import Detail, PondSocketError, dump_json

# As JSON, so that details, text and names are below 8 KiB together, whatever characters they hold.
MAX_DETAILS: Final = 10
_MAX_TEXT_BYTES: Final = 512
_MAX_KEY_BYTES: Final = 128
_MAX_LEVELS: Final = 8
_MAX_DETAILS_BYTES: Final = 4_096

# A year. Clients keep it in milliseconds, as an integer of any language.
_MAX_SECONDS: Final = 31_536_000

HeaderPairs: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of an answer, with lower-case names."""

# RFC 9110, sections 5.1 and 5.5: a token; no control characters, and no blank at either end.
_HEADER_NAME: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
# What the server and the adapter write themselves: a second one would break the answer.
_OWN_HEADERS: Final = frozenset(
    {"cache-control", "connection", "content-encoding", "content-length", "content-type"}
    | {"keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"x-connection-id"}
)
_OWN_PREFIXES: Final = ("sec-websocket-", "access-control-")


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
        self.count: int = len(details) if count is None else count
        self.details: tuple[Detail, ...] = _bounded(details)
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

    A subclass calls `super().__init__`, or it is a failure like any other exception.

    Args:
        message: The text that the client gets. Other exceptions' texts stay on the server.
        code: A number of the application's choice; by convention an HTTP status, 400 to 599.
        headers: Headers of the HTTP response, where the answer is one: a refused connection.
        retry_after: After how many seconds the client may try again; None: it is not told.

    Raises:
        UsageError: The code is not an integer from 0 to 9,999, the message is not a text, a header
            cannot be sent, or the seconds are no number from 0 on.
    """

    headers: HeaderPairs = ()
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        code: int = 400,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        check_code(code)
        self.headers = checked_headers(headers)
        self.message: str = readable_text("PondError(message, code): the message", message)
        self.code = code
        if retry_after is not None and not _is_duration(retry_after):
            raise UsageError(f"retry_after is a number of seconds, not {retry_after!r}.")
        self.retry_after = retry_after

    @property
    def retry_after_ms(self) -> int | None:
        """The same in milliseconds, as clients are told it."""
        # A subclass may have an attribute of this name, and another meaning for it.
        seconds: object = self.retry_after
        return math.ceil(seconds * 1_000) if _is_duration(seconds) else None


def _is_duration(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= _MAX_SECONDS


def check_code(code: object) -> None:
    """Refuse a code that clients could not read as an error code.

    Raises:
        UsageError: It is not an integer from 0 to 9,999.
    """
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 9_999:
        raise UsageError(
            f"An error's code is a number, by convention an HTTP status, 400 to 599, not {code!r}."
        )


def checked_headers(headers: Mapping[str, str] | None) -> HeaderPairs:
    """Return headers of an answer, with lower-case names.

    Raises:
        UsageError: One of them cannot be sent.
    """
    return tuple(checked_header(*each) for each in headers.items()) if headers else ()


def checked_header(name: object, value: object) -> tuple[str, str]:
    """Return one header of an answer, with a lower-case name.

    Raises:
        UsageError: It cannot be sent. The text does not show the value, which may be a secret.
    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise UsageError(f"{repr(name)[:60]} is no name of a header; it must be a token.")
    lower = name.lower()
    if lower in _OWN_HEADERS or lower.startswith(_OWN_PREFIXES):
        raise UsageError(f"The header {name!r} is set by the server; leave it out.")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise UsageError(
            f"The header {name!r} cannot be sent: its value must be a str of latin-1 characters,"
            " without line breaks and other control characters, and without a blank at its ends."
        )
    return lower, value


def merged(headers: HeaderPairs, more: HeaderPairs) -> HeaderPairs:
    """Return both, where `more` replaces headers of the same name, but no cookies."""
    replaced = {name for name, _ in more} - {"set-cookie"}
    return (*[each for each in headers if each[0] not in replaced], *more)


def readable_text(what: str, text: object) -> str:
    """Return a text that a client is told, without what UTF-8 cannot encode.

    That may be part of a file name, and must not stop the answer.

    Args:
        what: What the text is, for the error.

    Raises:
        UsageError: It is not a text.
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} is a text, not {text!r}; `reply` or `broadcast` send objects.")
    return text.encode(errors="replace").decode()
