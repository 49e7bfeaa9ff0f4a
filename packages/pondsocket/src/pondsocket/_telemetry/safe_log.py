"""Log records between two steps that belong together, which no log handler may separate.

Some handlers raise: one that has to open its file, and finds no descriptor left, for instance.
"""

import traceback
from collections.abc import Mapping

from pondsocket._log import Log


def write(
    log: Log,
    level: int,
    text: str,
    *arguments: object,
    failure: BaseException | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Log, and go on if a handler fails. Its traceback goes to stderr, as logging's own do.

    Args:
        failure: Logged with its traceback.
        extra: The fields of the record; see `about`.
    """
    try:
        log.log(level, text, *arguments, exc_info=failure, extra=extra)
    except Exception:  # noqa: BLE001 - boundary: the application's log handlers
        traceback.print_exc()
