"""Whose fault it is.

PondSocketError           (pondsocket_common)
  InvalidMessage          the peer's, answered with its reason
  EncodingError           the caller's: a payload that JSON cannot say
  UsageError              the caller's: a call that cannot work as written
  PondError               nobody's: the application says no, with its own code and words
"""

from pondsocket_common import Detail, PondSocketError


class UsageError(PondSocketError, RuntimeError):
    """The library was called in a way that cannot work; the message says what to write."""


class InvalidPayload(PondSocketError):  # noqa: N818 - named by what the peer sent
    """A payload does not fit what the handler asks for.

    Args:
        details: Which fields, and why.
    """

    def __init__(self, details: tuple[Detail, ...]) -> None:
        fields = ", ".join(".".join(map(str, detail.loc)) or "payload" for detail in details)
        super().__init__(f"What was sent does not fit: {fields}.")
        self.details = details


class PondError(PondSocketError):
    """Raise it in a handler to answer the request with an error of the application's own.

    Args:
        message: The sentence the client gets; every other exception's text stays on the server.
        code: A number of the application's choice, by HTTP's habits: 400 to 599.

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
        raise UsageError(f"An error's code is a number, by HTTP's habits 400 to 599, not {code!r}.")
