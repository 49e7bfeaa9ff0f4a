"""Middlewares whose `send` has nothing to do with what is between the start and the end.

A middleware that adds a header to responses, such as a session's cookie, gives the app a `send` of
its own. All messages would pass through it, and only the writer's task could call it. So it is left
out between the start and the end, if it is one of these, and its source says that it passes those
messages on as they are (`passing_on`). A version that holds the start back until the first piece of
the body does more with that piece, and so is not left out (Starlette 1.4: gzip).

Not in the list, although they are widely used, are wrappers that count or change every message:
BaseHTTPMiddleware, tracing of each message.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pondsocket_common import EVENT_STREAM

from pondsocket_asgi._scope import Send

from .passing_on import passes_on

Kind: TypeAlias = Literal["websocket", "http"]
_BETWEEN: Final[Mapping[Kind, Mapping[str, object]]] = {
    "websocket": {"type": "websocket.send"},
    "http": {"type": "http.response.body", "more_body": True},
}


class _Known(NamedTuple):
    """A wrapper that is known.

    Attributes:
        inner: By which expression it calls the `send` that it wraps.
        kinds: For which connections it has nothing to do between the start and the end.
        start_waits: Whether it waits for other code when a response starts, such as for a store.
        given: Expressions whose values are known, if `holds`.
        holds: Whether that is so for an object whose method the wrapper is.
    """

    inner: str = "send"
    kinds: tuple[Kind, ...] = ("websocket", "http")
    start_waits: bool = False
    given: Mapping[str, object] = {}
    holds: Callable[[Any], bool] | None = None


def _leaves_streams_alone(responder: Any) -> bool:
    excluded = responder.exclude_content_types
    return EVENT_STREAM in excluded or "text/*" in excluded


_ALWAYS: Final = _Known()
_SOCKETS: Final = _Known(kinds=("websocket",))
_GZIP: Final = _Known(
    "self.send", given={"self.content_type_is_excluded": True}, holds=_leaves_streams_alone
)
# By the module and the qualified name of the function's code, without `<locals>`. Unlike names of
# the function, `functools.wraps` cannot change these.
_KNOWN: Final[Mapping[str, Mapping[str, _Known]]] = {
    "asgi_correlation_id.middleware": {
        "CorrelationIdMiddleware.__call__.handle_outgoing_request": _ALWAYS,
    },
    "fastapi.telemetry._asgi": {"NativeTelemetry.__call__.wrapped_send": _ALWAYS},
    "litestar.middleware._internal.cors": {"CORSMiddleware.send_wrapper.wrapped_send": _ALWAYS},
    "litestar.middleware._internal.exceptions.middleware": {
        "ExceptionHandlerMiddleware.__call__.capture_response_started": _ALWAYS,
    },
    "litestar.middleware.csrf": {"CSRFMiddleware.create_send_wrapper.send_wrapper": _ALWAYS},
    # It logs each piece of a body.
    "litestar.middleware.logging": {
        "LoggingMiddleware.create_send_wrapper.send_wrapper": _SOCKETS,
    },
    "litestar.middleware.rate_limit": {
        "RateLimitMiddleware.create_send_wrapper.send_wrapper": _ALWAYS,
    },
    "litestar.middleware.session.base": {
        "SessionMiddleware.create_send_wrapper.wrapped_send": _Known(
            "connection.send", start_waits=True
        ),
    },
    # It takes the time at each piece of a body.
    "litestar.plugins.prometheus.middleware": {
        "PrometheusMiddleware._get_wrapped_send.wrapped_send": _SOCKETS,
    },
    "sentry_sdk.integrations.asgi": {"SentryAsgiMiddleware._run_app._sentry_wrapped_send": _ALWAYS},
    "starlette._exception_handler": {"wrap_app_handling_exceptions.wrapped_app.sender": _ALWAYS},
    "starlette.middleware.body_limit": {
        "RequestBodyLimitResponder.send_with_limit": _Known("self.send"),
    },
    "starlette.middleware.cors": {"CORSMiddleware.send": _ALWAYS},
    "starlette.middleware.errors": {"ServerErrorMiddleware.__call__._send": _ALWAYS},
    "starlette.middleware.gzip": {"IdentityResponder.send_with_compression": _GZIP},
    "starlette.middleware.opentelemetry": {
        "OpenTelemetryMiddleware.__call__.send_with_telemetry": _ALWAYS,
    },
    "starlette.middleware.sessions": {"SessionMiddleware.__call__.send_wrapper": _ALWAYS},
}
# Functions made by hand, such as by `exec`, may be of ever new code.
_MOST_CODES: Final = 256
_NONE: Final[Mapping[str, Any]] = {}


class Wrapper(NamedTuple):
    """A wrapper that may be left out.

    Attributes:
        inner: The `send` that it wraps.
        start_waits: Whether it may wait for other code when the connection is opened.
    """

    inner: Send
    start_waits: bool


_Parts: TypeAlias = tuple[FunctionType, object, Mapping[str, Any]]
"""What a `send` consists of: a function, whose method it is, and what a `partial` gives it."""


def unwrapped(send: object, kind: Kind) -> Wrapper | None:
    """Take a wrapper that is known off a `send`. None if it is not one, or not as it is known."""
    parts = _parts(send)
    known = None if parts is None else _checked(parts[0], kind)
    if parts is None or known is None:
        return None
    try:
        if known.holds is not None and not known.holds(parts[1]):
            return None
        name, _, attribute = known.inner.partition(".")
        inner = _value_of(name, parts)
        if attribute:
            inner = getattr(inner, attribute)
    except (AttributeError, LookupError, ValueError):
        return None
    return Wrapper(inner, known.start_waits and kind == "http")


def is_listed(send: object, kind: Kind) -> bool:
    """Return whether a `send` is in the list for this kind, by its name: as it is known, or not."""
    parts = _parts(send)
    known = None if parts is None else _entry(parts[0])
    return known is not None and kind in known.kinds


def _parts(send: Any) -> _Parts | None:
    keywords = _NONE
    if type(send) is partial:
        if send.args:
            return None
        send, keywords = send.func, send.keywords
    function: Any = send
    owner = None
    if type(send) is MethodType:
        function, owner = send.__func__, send.__self__
    return (function, owner, keywords) if type(function) is FunctionType else None


def _value_of(name: str, parts: _Parts) -> Any:
    """Return the value of a name that a wrapper uses and does not assign to."""
    function, owner, keywords = parts
    if name in keywords:
        return keywords[name]
    if name == "self":
        return owner
    index = function.__code__.co_freevars.index(name)
    return (function.__closure__ or ())[index].cell_contents


def _entry(function: FunctionType) -> _Known | None:
    module = function.__globals__.get("__name__", "")
    known = _KNOWN.get(module, {}).get(function.__code__.co_qualname.replace(".<locals>", ""))
    loaded = getattr(sys.modules.get(module), "__dict__", None)
    return known if loaded is function.__globals__ else None


# By the identities of the code and its module, as the hash of a code is that of all it consists of.
# Both are kept, so that no others get their identities.
_verdicts: Final[dict[tuple[int, int, Kind], tuple[object, object, _Known | None]]] = {}


def _checked(function: FunctionType, kind: Kind) -> _Known | None:
    """Return what is known of a wrapper, if its source says the same."""
    code, module = function.__code__, function.__globals__
    key = (id(code), id(module), kind)
    verdict = _verdicts.get(key)
    if verdict is None:
        if len(_verdicts) >= _MOST_CODES:
            _verdicts.clear()
        known = _entry(function)
        if known is not None and not (
            kind in known.kinds and passes_on(function, _BETWEEN[kind], known.inner, known.given)
        ):
            known = None
        verdict = _verdicts[key] = (code, module, known)
    return verdict[2]
