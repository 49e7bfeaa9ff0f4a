"""A filter that keeps secrets out of the server's logs.

Browsers cannot set headers on a WebSocket or an EventSource, so tokens travel in the query; and
servers log the query of every request. A server that configures its logging removes handlers, but
no filters of loggers: so the filter works whether it is installed before or after that.
"""

import copy
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

_REMOVED: Final = "***"
_QUERY: Final = re.compile(r"\?\S+")
_CLOSERS: Final = "\"')]}>,"
_CONNECTION_ID: Final = re.compile(
    r"(x-connection-id|connectionid)([\"'\s:=,]{1,8}(?:b[\"'])?)[\w-]{8,}", re.IGNORECASE
)
# A subprotocol that is a token, wherever a server names it.
_TOKEN: Final = re.compile(r"base64url\.bearer\.[\w=-]+")
_SECRET_HEADERS: Final = {
    "x-connection-id",
    "last-event-id",
    "cookie",
    "set-cookie",
    "authorization",
    "sec-websocket-protocol",  # browsers bring tokens in it
}
# As hypercorn, granian and ASGI scopes name them; access logs write headers as `{name}i`.
_SECRET_KEYS: Final = {"q", "qs", "query", "query_string", "subprotocols", *_SECRET_HEADERS}
_MAX_DEPTH: Final = 4


class RedactSecrets(logging.Filter):
    """A logging filter that removes queries, connection ids, cookies and tokens from records.

    `RedactSecrets.install()` adds it to the loggers of the servers.
    """

    LOGGERS: Final = (
        "uvicorn.access",
        "uvicorn.error",
        "uvicorn.asgi",
        "hypercorn.access",
        "hypercorn.error",
        "granian.access",
        "_granian",
        "gunicorn.access",
        "gunicorn.error",
    )

    @classmethod
    def install(cls, *loggers: str) -> None:
        """Add the filter to these loggers, by default to those of the known servers. Idempotent."""
        for name in loggers or cls.LOGGERS:
            logger = logging.getLogger(name)
            if not any(isinstance(each, cls) for each in logger.filters):
                logger.addFilter(cls())

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place. Always True: the record is logged."""
        try:
            _clean_record(record)
        except Exception:  # noqa: BLE001 - boundary: any object may be in any record
            return True  # the record cannot be formatted; its handler reports that
        return True


def _clean_record(record: logging.LogRecord) -> None:
    # The arguments first, for some formatters use these instead of the message.
    if isinstance(record.args, Mapping):
        record.args = _clean_mapping(record.args, 0)
    elif record.args:
        record.args = _clean_pair(record.args)
    message = record.getMessage()
    clean = _clean_text(message)
    if clean != message:
        record.msg, record.args = clean, None


def _clean_pair(values: tuple[object, ...]) -> tuple[object, ...]:
    """Redact arguments. If one is a secret header's name, as in `"%s: %s"`, remove the others."""
    names = {value.lower() for value in values if isinstance(value, str)}
    if names & _SECRET_HEADERS:
        return tuple(
            _REMOVED if isinstance(value, str) and value.lower() not in _SECRET_HEADERS else value
            for value in values
        )
    return tuple(_clean(value, 0) for value in values)


def _clean(value: object, depth: int) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _clean_text(value)
    if depth >= _MAX_DEPTH:
        return _REMOVED
    if isinstance(value, Mapping):
        return _clean_mapping(value, depth + 1)
    if type(value) in (tuple, list):
        items = list(value)  # type: ignore[call-overload]
        cleaned = [_clean(item, depth + 1) for item in items]
        same = all(new is old for new, old in zip(cleaned, items, strict=True))
        return value if same else type(value)(cleaned)  # type: ignore[call-arg]
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - boundary: any object may be in any record
        return value
    if _is_frame(value):
        return f"{text.partition(' ')[0]} {_REMOVED}"
    clean = _clean_text(text)
    return value if clean == text else clean


def _is_frame(value: object) -> bool:
    # At the level DEBUG, the library websockets logs the beginning and the end of each message.
    kind = type(value)
    return kind.__name__ == "Frame" and kind.__module__.partition(".")[0] == "websockets"


def _clean_mapping(values: Mapping[Any, object], depth: int) -> Mapping[Any, object]:
    """Copy a mapping without its secrets: the original may be a scope that is still in use.

    The copy has the type of the original, because some define how they are formatted.
    """
    cleaned: Any = copy.copy(values)
    for key, value in values.items():
        name = str(key).lower().lstrip("{").partition("}")[0]
        new = _REMOVED if name in _SECRET_KEYS and value else _clean(value, depth)
        if new is not value:
            cleaned[key] = new
    return values if cleaned == values else cleaned


def _clean_text(text: str) -> str:
    if "?" in text:
        text = _QUERY.sub(_remove_query, text)
    if "base64url.bearer." in text:
        text = _TOKEN.sub(f"base64url.bearer.{_REMOVED}", text)
    return _CONNECTION_ID.sub(rf"\1\2{_REMOVED}", text)


def _remove_query(found: re.Match[str]) -> str:
    query = found[0]
    return f"?{_REMOVED}{query[len(query.rstrip(_CLOSERS)) :]}"
