"""Admission: calls an endpoint's connection handler, within a time limit."""

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from pondsocket_common import GATEWAY, ErrorTypes

from pondsocket._contexts import ConnectionContext
from pondsocket._environment import Environment
from pondsocket._errors import PondError
from pondsocket._log import about, get_log
from pondsocket._runtime.driving import drive
from pondsocket._runtime.loop import failure_of
from pondsocket._state.lifecycle import Admission
from pondsocket._state.patterns import Pattern
from pondsocket._state.request import ConnectRequest, Refusal, refuse_connection
from pondsocket._telemetry.failures import ErrorContext

from .answers import answer_of
from .kinds import CONNECTION
from .registration import Handler, Middleware, Registration, check_callable

_log: Final = get_log("pondsocket.endpoint")
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_ACCEPTED: Final = Admission.ACCEPTED
_T = TypeVar("_T")

Identify: TypeAlias = Callable[[ConnectRequest], object]
"""Returns who makes a request, as any value that can be compared; `def` or `async def`."""


async def admit_everyone(ctx: ConnectionContext) -> None:
    """Accept a connection: what an endpoint without a handler does."""
    ctx.accept()


class ConnectionAdmission:
    """Calls the connection handler of one endpoint, and identifies who makes a request."""

    def __init__(
        self,
        path: str,
        handler: Handler,
        middlewares: Sequence[Middleware[ConnectionContext]],
        environment: Environment,
        identity: Identify | None,
    ) -> None:
        self._path = path
        self._handler = handler
        self._middlewares = list(middlewares)
        self._names = Pattern(path).names
        self._connect = self._register(self._middlewares)
        self._environment = environment
        if identity is not None:
            check_callable(f"endpoint {path!r}, identity", identity, arguments=1)
        self._identity = identity

    def use(self, middlewares: Sequence[Middleware[ConnectionContext]]) -> None:
        """Add middleware inside the existing middleware."""
        self._connect = self._register([*self._middlewares, *middlewares])
        self._middlewares += middlewares

    def _register(
        self, middlewares: Sequence[Middleware[ConnectionContext]]
    ) -> Registration[ConnectionContext]:
        what = f"endpoint {self._path!r}"
        return Registration(what, self._handler, middlewares, CONNECTION, self._names)

    @property
    def is_selective(self) -> bool:
        """Whether the handler asks for types that a path may not have."""
        return self._connect.is_selective

    def fits(self, params: Mapping[str, str]) -> bool:
        """Return whether the parameters have the types that the connection handler asks for."""
        return self._connect.fits(params)

    def explain(self, params: Mapping[str, str]) -> str:
        """Return what a client should know about parameters that do not fit; mostly nothing."""
        return self._connect.explain(params)

    async def decide(self, context: ConnectionContext) -> Refusal | None:
        """Call the connection handler. Return a Refusal, or None if it accepts the connection."""
        path = context.request.path
        # A handler that cannot wait needs no time limit, whose scope costs more than it does
        # (tests/benchmarks/microbench.py, "connect; core").
        run = self._run_with_limit if self._connect.may_wait else self._run_without_limit
        refusal = await run("A connection handler", path, self._connect.call(context), context)
        if context.declined is not None:
            refusal = refuse_connection(*context.declined)
        elif refusal is None and context.decision.state is not _ACCEPTED:
            told, extra = "A connection handler neither accepted nor declined (path=%r).", _at(path)
            _log.error(told, path, extra=extra)
            text = "The handler neither accepted nor declined the connection."
            refusal = refuse_connection(401, text)
        return None if refusal is None else refusal.with_headers(context.answer_headers)

    async def identify(self, request: ConnectRequest) -> object:
        """Return who makes a request for an event stream; a Refusal if `identity` fails."""
        if self._identity is None or request.transport != "sse":
            return None
        work = _identity(self._identity, request)
        return await self._run_with_limit("The identity of a request", request.path, work)

    async def _run_with_limit(
        self,
        what: str,
        path: str,
        work: Coroutine[Any, Any, _T],
        context: ConnectionContext | None = None,
    ) -> _T | Refusal | None:
        """Await a function of the application. Return a Refusal if it fails or takes too long."""
        timeout = self._environment.options.connect_timeout
        with self._environment.loop.new_scope() as limit:
            noticed = drive(work, partial(_limit, limit, timeout))
            return await self._run_without_limit(what, path, noticed, context)
        _log.error("%s took over %s s (path=%r).", what, timeout, path, extra=_at(path))
        return Refusal(504, ErrorTypes.ENDPOINT_ERROR, "It took too long to decide.")

    async def _run_without_limit(
        self,
        what: str,
        path: str,
        work: Awaitable[_T],
        context: ConnectionContext | None = None,
    ) -> _T | Refusal | None:
        """Await a function of the application for any time. Return a Refusal if it fails."""
        try:
            result = await work
            # What a connection handler's middleware returns has no meaning.
            return result if context is None else None
        except BaseException as error:  # noqa: BLE001 - boundary: a function
            told, failure = answer_of(failure_of(error))
            if failure is not None:
                extra = _at(path)
                _log.error("%s failed (path=%r).", what, path, exc_info=failure, extra=extra)
                if context is not None:
                    failed = context, GATEWAY, "CONNECT", context.user_id, path
                    self._environment.failures.report(ErrorContext(failure, "connect", *failed))
            if isinstance(told, PondError):
                refusal = refuse_connection(told.code, told.message, told.headers)
                if (milliseconds := told.retry_after_ms) is None:
                    return refusal
                return replace(refusal, retry_after=math.ceil(milliseconds / 1_000))
            if told is not None:
                return refuse_connection(422, str(told))
            text = self._environment.told(failure or error)
            return Refusal(500, ErrorTypes.INTERNAL_SERVER_ERROR, text)


def _at(path: str) -> dict[str, str]:
    return about(endpoint=path, event="CONNECT")


def _limit(scope: anyio.CancelScope, seconds: float | None) -> None:
    if seconds is not None:
        scope.deadline = anyio.current_time() + seconds


async def _identity(identity: Identify, request: ConnectRequest) -> object:
    result = identity(request)
    return await result if isinstance(result, Awaitable) else result
