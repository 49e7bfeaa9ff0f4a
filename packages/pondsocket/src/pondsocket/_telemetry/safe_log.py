"""Log records between two steps that belong together, which no log handler may separate.

Some handlers raise: one that has to open its file, and finds no descriptor left, for instance.
"""

import logging
import traceback


def write(
    log: logging.Logger,
    level: int,
    text: str,
    *arguments: object,
    failure: BaseException | None = None,
) -> None:
    """Log, and go on if a handler fails. Its traceback goes to stderr, as logging's own do.

    Args:
        failure: Logged with its traceback.
    """
    try:
        log.log(level, text, *arguments, exc_info=failure)
    except Exception:  # noqa: BLE001 - boundary: the application's log handlers
        traceback.print_exc()
