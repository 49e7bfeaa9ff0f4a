"""Who may connect: an endpoint's connection handler, asked and bounded."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import anyio
from pondsocket_common import GATEWAY, ErrorTypes

from . import _answers as answers
from ._contexts import ConnectionContext
from ._environment import Environment
from ._errors import InvalidPayload, PondError
from ._handlers import Handler, Middleware, Registration, check_callable
from ._kinds import CONNECTION
from ._loop import is_cancellation
from ._request import ConnectRequest, Refusal, refuse_connection
from ._state.lifecycle import Admission
from ._state.patterns import Pattern

_log: Final = logging.getLogger("pondsocket.endpoint")

Identify: TypeAlias = Callable[[ConnectRequest], object]
"""Who makes a request, as anything that can be compared; `def` or `async def`."""


class Doorkeeper:
    """Has the connection handler of one endpoint decide, and knows who makes a request."""

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
        """Add middleware inside of what is there already."""
        self._connect = self._register([*self._middlewares, *middlewares])
        self._middlewares += middlewares

    def _register(
        self, middlewares: Sequence[Middleware[ConnectionContext]]
    ) -> Registration[ConnectionContext]:
        what = f"endpoint {self._path!r}"
        return Registration(what, self._handler, middlewares, CONNECTION, self._names)

    def fits(self, params: Mapping[str, str]) -> bool:
        """Whether the parameters have the types that the connection handler asks for."""
        return self._connect.fits(params)

    async def decide(self, context: ConnectionContext) -> Refusal | None:
        """Why the connection is refused; None: it is accepted."""
        timeout, path = self._environment.options.connect_timeout, context.path
        refusal: Refusal | None = None
        with anyio.CancelScope() as limit:
            limit.deadline = math.inf if timeout is None else anyio.current_time() + timeout
            try:
                await self._connect.call(context)
            except PondError as error:
                refusal = refuse_connection(error.code, error.message)
            except InvalidPayload as error:
                refusal = refuse_connection(422, str(error))
            except (Exception, anyio.get_cancelled_exc_class()) as error:  # boundary: a handler
                if is_cancellation(error):
                    raise
                _log.exception("A connection handler failed (path=%r).", path)
                if self._environment.observer is not None:
                    self._environment.observer.error(error, GATEWAY, "CONNECT", context.user_id)
                refusal = Refusal(500, ErrorTypes.INTERNAL_SERVER_ERROR, answers.INTERNAL)
        if limit.cancelled_caught:
            _log.error("A connection handler took over %s s (path=%r).", timeout, path)
            text = "The connection took too long to decide."
            return Refusal(504, ErrorTypes.ENDPOINT_ERROR, text)
        if context.declined is not None:
            return refuse_connection(*context.declined)
        if refusal is None and context.decision.state is not Admission.ACCEPTED:
            _log.error("A connection handler neither accepted nor declined (path=%r).", path)
            return refuse_connection(401, "Nobody decided about the connection.")
        return refusal

    async def identify(self, request: ConnectRequest) -> object:
        """Who makes a request for an event stream; a Refusal where that cannot be told."""
        if self._identity is None or request.transport != "sse":
            return None
        timeout = self._environment.options.connect_timeout
        with anyio.CancelScope() as limit:
            limit.deadline = math.inf if timeout is None else anyio.current_time() + timeout
            try:
                identity = self._identity(request)
                return await identity if isinstance(identity, Awaitable) else identity
            except (Exception, anyio.get_cancelled_exc_class()) as error:  # boundary: a function
                if is_cancellation(error):
                    raise
                _log.exception("The identity of a request failed (path=%r).", request.path)
                return Refusal(500, ErrorTypes.INTERNAL_SERVER_ERROR, answers.INTERNAL)
        _log.error("The identity of a request took over %s s (path=%r).", timeout, request.path)
        return Refusal(504, ErrorTypes.ENDPOINT_ERROR, "The request took too long to decide.")
