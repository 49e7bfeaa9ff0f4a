"""What a client is told instead of what it asked for."""

from pondsocket_common import Detail, Fault, NotFound, Refused


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


class ConnectionRefused(Answered):
    """The app did not admit the connection.

    Attributes:
        body: The body of the response.
    """

    def __init__(self, url: str, status: int, message: str, body: bytes) -> None:
        super().__init__(f"The connection to {url!r} was refused", status, message)
        self.body = body


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
