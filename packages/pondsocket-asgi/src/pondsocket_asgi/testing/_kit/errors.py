"""What a client is told instead of what it asked for."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pondsocket.testing import ConnectionRefused
from pondsocket_common import Detail, Fault, NotFound, Refused

from .ponds import Ponds


class Answered(Exception):  # noqa: N818 - an answer, not a failure of the test
    """The base of what a client may be answered instead.

    Attributes:
        code: The code, by convention an HTTP status.
        message: What the client is told.
        details: Which fields are not valid, ten at most.
    """

    def __init__(
        self, what: str, code: int, message: str, details: tuple[Detail, ...] = ()
    ) -> None:
        fields = "".join(
            f"\n  {'.'.join(map(str, each.loc)) or 'the payload'}: {each.msg} ({each.type})"
            for each in details
        )
        super().__init__(f"{what}: {code} {message}{fields}")
        self.code = code
        self.message = message
        self.details: tuple[Detail, ...] = details


class JoinRefused(Answered):
    """A join was refused, or no lobby serves the channel."""

    def __init__(self, name: str, refused: Refused | NotFound) -> None:
        details = (refused.details if isinstance(refused, Refused) else None) or ()
        text = f"The join of {name!r} was refused"
        super().__init__(text, refused.code, refused.message, details)


class CallFailed(Answered):
    """An event was answered with an error.

    Attributes:
        error: The kind of error, for instance "CHANNEL_ERROR".
        retry_after: In how many seconds the client may try again; None if it is not told.
    """

    def __init__(self, event: str, fault: Fault) -> None:
        text = f"{event!r} was answered with {fault.error}"
        super().__init__(text, fault.code, fault.message, fault.details or ())
        self.error: str = str(fault.error)
        after = fault.retry_after_ms
        self.retry_after: float | None = None if after is None else after / 1_000


A = TypeVar("A", ConnectionRefused, JoinRefused, CallFailed)
T = TypeVar("T")


async def refusal(
    kind: type[A],
    attempt: Awaitable[T],
    ponds: Ponds,
    otherwise: Callable[[T], str],
    *,
    code: int | None,
    message: str | None,
) -> A:
    """Expect that an attempt is refused, and return the refusal.

    Args:
        otherwise: Says what an attempt has done that was not refused, from what it returned.
        code: The code that it must have. With 500, what the handler has raised is expected.
        message: What the client must be told, or a part of it.

    Raises:
        AssertionError: It is not refused, or not so.
        BaseException: What the handler has raised, unless `code` is 500.
    """
    refused: A | None = None
    instead = ""
    with ponds.expect_errors() as raised:
        try:
            instead = otherwise(await attempt)
        except kind as error:
            refused = error
    if raised and code != 500:
        raise raised[0].error
    if refused is None:
        raise AssertionError(instead)
    if code not in (None, refused.code):
        raise AssertionError(f"The code is {refused.code}, not {code}. {refused}")
    if message is not None and message not in refused.message:
        raise AssertionError(f"The client is not told {message!r}. {refused}")
    return refused
