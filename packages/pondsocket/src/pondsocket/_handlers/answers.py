"""What a failed handler answers: the application's own code and text, or that the server failed."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeGuard

from pondsocket_common import EncodingError, dump_json

from pondsocket._errors import HeaderPairs, InvalidPayload, PondError, UsageError, checked_header
from pondsocket._log import get_log

_log: Final = get_log("pondsocket.handlers")
_NOTHING: Final = object()


class Answer(NamedTuple):
    """What follows from a failure of a handler.

    Args:
        told: What the client is told; None: that the server failed.
        logged: What the log is told; None: nothing.
    """

    told: PondError | InvalidPayload | None
    logged: BaseException | None


def answer_of(failure: BaseException) -> Answer:
    """Return what the client and the log are told of a failure, which `failure_of` has returned.

    In a group, however deep, the first answer counts: a task group raises nothing else. What is no
    answer in it is logged. The HTTP errors of other frameworks are answers; those from 500 on are
    logged, too.
    """
    if not isinstance(failure, BaseExceptionGroup):
        return Answer(_told_by(failure), None if _is_answer_alone(failure) else failure)
    told = next((each for each in map(_told_by, _leaves(failure)) if each is not None), None)
    return Answer(told, failure.split(_is_answer_alone)[1])


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def _is_answer_alone(error: BaseException) -> bool:
    if _is_own(error):
        return True
    status = _status_of(error)
    return status is not None and status < 500


def _is_own(error: BaseException) -> TypeGuard[PondError | InvalidPayload]:
    """Return whether it is one of ours, and complete: a subclass may not have called `super()`."""
    if isinstance(error, PondError):
        return isinstance(_read(error, "code"), int) and isinstance(_read(error, "message"), str)
    return isinstance(error, InvalidPayload) and isinstance(_read(error, "count"), int)


def _told_by(error: BaseException) -> PondError | InvalidPayload | None:
    if _is_own(error):
        return error
    status = _status_of(error)
    if status is None:
        return None
    told = PondError(_text_of(error, status), status)
    told.headers = _headers_of(error)
    return told


def _read(error: BaseException, name: str) -> Any:
    """Return an attribute; `_NOTHING` if there is none."""
    try:
        return getattr(error, name, _NOTHING)
    except Exception:  # noqa: BLE001 - boundary: a property of an application's class
        return _NOTHING


def _status_of(error: BaseException) -> int | None:
    """Return the status of an HTTP error, told by its attributes: no framework is imported.

    `HTTPException` of Starlette, FastAPI and Litestar, and what Django REST framework raises, have
    both of them.
    """
    status = _read(error, "status_code")
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        return None
    return None if _read(error, "detail") is _NOTHING else int(status)


def _text_of(error: BaseException, status: int) -> str:
    detail = _read(error, "detail")
    if isinstance(detail, str) and detail:
        return str(detail)
    if isinstance(detail, dict | list) and detail:  # FastAPI lets it be any JSON value
        try:
            return dump_json(detail).decode()
        except EncodingError:
            pass
    return HTTPStatus(status).phrase if status in list(HTTPStatus) else "Refused."


def _headers_of(error: BaseException) -> HeaderPairs:
    given = _read(error, "headers")
    pairs = given.items() if isinstance(given, Mapping) else given
    kept: list[tuple[str, str]] = []
    for pair in pairs if isinstance(pairs, Iterable) and not isinstance(pairs, str | bytes) else ():
        try:
            name, value = pair
            kept.append(checked_header(name, value))
        except (UsageError, TypeError, ValueError) as fault:
            _log.warning("A header of %s is not sent: %s", type(error).__name__, fault)
    return tuple(kept)
