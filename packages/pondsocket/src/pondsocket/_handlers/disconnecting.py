"""The disconnect handler of an endpoint: called when a connection has ended."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, overload

from pondsocket_common import GATEWAY

from pondsocket._contexts import DisconnectContext
from pondsocket._errors import UsageError
from pondsocket._runtime.tasks import Work, run_all

from .kinds import DISCONNECT
from .leaving import run_last
from .registration import NOT_GIVEN, Middleware, Registration

F = TypeVar("F", bound=Callable[..., Any])

_EVENT: Final = "DISCONNECT"
"""What the hook for errors is told in the place of an event's name."""


class Disconnects:
    """The disconnect handler, if there is one.

    Args:
        path: The endpoint's path or pattern.
        names: Its parameters.
    """

    def __init__(self, path: str, names: frozenset[str]) -> None:
        self._what = f"endpoint {path!r}"
        self._names = names
        self.registration: Registration[DisconnectContext] | None = None

    def register(
        self, handler: Callable[..., Any], middlewares: Sequence[Middleware[DisconnectContext]]
    ) -> None:
        """Register the handler.

        Raises:
            UsageError: It cannot work, or there is one already.
        """
        if self.registration is not None:
            raise UsageError(f"{self._what} has a disconnect handler already.")
        what = f"{self._what}, disconnect"
        self.registration = Registration(what, handler, middlewares, DISCONNECT, self._names)

    def after(self, leaves: Sequence[Work], context: DisconnectContext) -> Work:
        """Return the call of the handler, behind the leaves of the same connection."""
        return partial(self._call, leaves, context)

    async def _call(self, leaves: Sequence[Work], context: DisconnectContext) -> None:
        try:
            await run_all(leaves)
        finally:
            if (registration := self.registration) is not None:
                await run_last(
                    "disconnect",
                    context,
                    registration.call(context),
                    context.environment,
                    (GATEWAY, _EVENT, context.user.id, context.path),
                )


class TakesDisconnects:
    """The base class of endpoints, which have a disconnect handler."""

    disconnects: Disconnects

    @overload
    def on_disconnect(
        self,
        handler: F,
        *more: Middleware[DisconnectContext],
        middlewares: Sequence[Middleware[DisconnectContext]] = (),
    ) -> F: ...
    @overload
    def on_disconnect(
        self, *, middlewares: Sequence[Middleware[DisconnectContext]] = ()
    ) -> Callable[[F], F]: ...
    def on_disconnect(
        self,
        handler: Any = NOT_GIVEN,
        *more: Middleware[DisconnectContext],
        middlewares: Sequence[Middleware[DisconnectContext]] = (),
    ) -> Any:
        """Register a handler to call when a connection has ended, after its leave handlers.

        It is called once for each connection that was open, however it has ended. Use it as a call,
        as a bare decorator, or with `middlewares` alone as a decorator.

        Raises:
            UsageError: The handler cannot work, or there is one already.
        """

        def register(function: F) -> F:
            self.disconnects.register(function, [*middlewares, *more])
            return function

        return register if handler is NOT_GIVEN else register(handler)
