"""The log: the fields of records, where tracebacks begin, and lines where nothing is set up."""

import logging
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeAlias

import anyio
import pondsocket_common

NAME: Final = "pondsocket"
FIELDS: Final = ("connection", "endpoint", "channel", "event", "user")
"""What each record has as attributes, a dash where it is about none."""

LINE: Final = "%(asctime)s %(levelname)s %(name)s [%(connection)s] %(message)s"

_NONE: Final[Mapping[str, str]] = MappingProxyType(dict.fromkeys(FIELDS, "-"))
# What stands between this package and the application's code in a traceback.
_STDLIB: Final = sysconfig.get_path("stdlib")
_PACKAGES: Final = os.path.dirname(os.path.dirname(anyio.__file__))  # noqa: PTH120
_BETWEEN: Final = (
    *(os.path.dirname(file) + os.sep for file in (__file__, pondsocket_common.__file__)),  # noqa: PTH120
    *(os.path.join(_STDLIB, name, "") for name in ("asyncio", "concurrent")),  # noqa: PTH118
    *(os.path.join(_PACKAGES, name, "") for name in ("anyio", "trio", "outcome")),  # noqa: PTH118
    os.path.join(_STDLIB, "contextlib.py"),  # noqa: PTH118
)

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records have all fields."""

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Complete the fields, and leave out of a traceback what is only between."""
        extra, failure = kwargs.get("extra"), kwargs.get("exc_info")
        kwargs["extra"] = _NONE if extra is None else {**_NONE, **extra}
        if isinstance(failure, BaseException):
            kwargs["exc_info"] = shown(failure)
        return msg, kwargs


def get_log(name: str) -> Log:
    """Return the logger of this name."""
    return Log(logging.getLogger(name), None)


def about(
    session: Any = None,
    *,
    channel: str = "-",
    event: str = "-",
    endpoint: str | None = None,
    user: str | None = None,
) -> dict[str, str]:
    """Return the fields of a record, for `extra`.

    Args:
        session: The connection, or a membership of it. By default its path and its user are told.
        endpoint: The path of the endpoint.
    """
    if session is None:
        given = {"endpoint": endpoint or "-", "user": user or "-"}
        return {"connection": "-", "channel": channel, "event": event, **given}
    session = getattr(session, "session", session)
    return {
        "connection": session.handle.ref,
        "endpoint": session.path if endpoint is None else endpoint,
        "channel": channel,
        "event": event,
        "user": session.user_id if user is None else user,
    }


def shown(failure: BaseException) -> ExcInfo:
    """Return what to log of a failure: its traceback begins at the application's first line."""
    beginning = failure.__traceback__
    for step in _steps(failure):
        if _is_own(step):
            beginning = step
            break
    return type(failure), failure, beginning


def explained(failure: BaseException) -> str:
    """Return what a developer's client is told of a failure: its kind, its text, and where."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    steps = list(_steps(failure))
    own = [step for step in steps if _is_own(step)] or steps
    said = traceback.format_exception_only(failure)[-1].strip()
    if own:
        frame = own[-1].tb_frame
        name = Path(frame.f_code.co_filename).name
        said += f" ({name}:{own[-1].tb_lineno}, in {frame.f_code.co_name})"
    return said.encode(errors="replace").decode()[:1_000]


def _steps(failure: BaseException) -> Iterator[TracebackType]:
    step = failure.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def _is_own(step: TracebackType) -> bool:
    return not step.tb_frame.f_code.co_filename.startswith(_BETWEEN)


class LastResort(logging.Handler):
    """Writes warnings to stderr where the application has set up no logging at all.

    Python's own handler for that writes the text alone: no time, no level, no name.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        # A record of another library's making, under our name, has no fields.
        self.setFormatter(logging.Formatter(LINE, defaults=_NONE))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless another handler has it."""
        if not self._is_alone(record.name):
            return
        try:
            print(self.format(record), file=sys.stderr)  # noqa: T201 - the end of all logging
        except Exception:  # noqa: BLE001 - boundary: a stderr that is closed
            self.handleError(record)

    def _is_alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


# At import: warnings may come before anything is opened.
logging.getLogger(NAME).addHandler(LastResort())
