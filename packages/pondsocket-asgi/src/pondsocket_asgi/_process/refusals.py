"""A filter of an error that uvicorn logs for each WebSocket that the application has refused.

The application has answered with a response, but uvicorn's `websockets-sansio`, and with it
`fastlane.DeflateProtocol`, looks for a handshake: "ASGI callable returned without completing
handshake." Behind many refusals, and any stranger can cause them, real errors are not seen.
"""

import logging
from contextvars import ContextVar
from typing import Final

_INCOMPLETE: Final = "without completing handshake"
# In the context of the server's task, which logs after the application has returned.
_is_refused: ContextVar[bool] = ContextVar("pondsocket_is_refused", default=False)


def note_refusal() -> None:
    """Note that this task's WebSocket was refused."""
    _is_refused.set(True)


class QuietRefusals(logging.Filter):
    """A logging filter that drops uvicorn's error for each WebSocket that a pond has refused.

    `QuietRefusals.install()` adds it to uvicorn's logger. The line that says how the WebSocket was
    refused stays, and so does the error of an application that forgets to answer.
    """

    @classmethod
    def install(cls) -> None:
        """Add the filter to the logger `uvicorn.error`. Idempotent."""
        logger = logging.getLogger("uvicorn.error")
        if not any(isinstance(each, cls) for each in logger.filters):
            logger.addFilter(cls())

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        return not (_is_refused.get() and _INCOMPLETE in str(record.msg))
