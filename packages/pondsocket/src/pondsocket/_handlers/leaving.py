"""The leave handler of a lobby: called when a user's last connection has left a channel."""

import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar, overload

import anyio

from pondsocket._channel.channel import Channel
from pondsocket._contexts import LeaveContext
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._log import about, get_log
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, User
from pondsocket._telemetry.failures import ErrorContext

from .events import Events
from .kinds import LEAVE
from .registration import NOT_GIVEN, Handler, Middleware, Registration

_log: Final = get_log("pondsocket.lobby")

F = TypeVar("F", bound=Callable[..., Any])


class HandlesLeaves:
    """The leave handler of a lobby. A base class of `Lobby`."""

    events: Events[Any]

    def __init__(self) -> None:
        self._leave: Registration[LeaveContext] | None = None

    @overload
    def on_leave(
        self,
        handler: F,
        *more: Middleware[LeaveContext],
        middlewares: Sequence[Middleware[LeaveContext]] = (),
    ) -> F: ...
    @overload
    def on_leave(
        self, *, middlewares: Sequence[Middleware[LeaveContext]] = ()
    ) -> Callable[[F], F]: ...
    def on_leave(
        self,
        handler: Any = NOT_GIVEN,
        *more: Middleware[LeaveContext],
        middlewares: Sequence[Middleware[LeaveContext]] = (),
    ) -> Any:
        """Register a handler to call when the last connection of a user has left a channel.

        Use it as a call, as a bare decorator, or with `middlewares` alone as a decorator.

        Raises:
            UsageError: The handler cannot work, or there is one already.
        """

        def register(function: F) -> F:
            chain = [*middlewares, *more]
            self.add_leave(function, chain)
            self._repeat(lambda copy: copy.on_leave(function, *chain))
            return function

        return register if handler is NOT_GIVEN else register(handler)

    def add_leave(self, handler: Handler, middlewares: Sequence[Middleware[LeaveContext]]) -> None:
        """Register the leave handler; see `on_leave`."""
        what = self.events.what
        if self._leave is not None:
            raise UsageError(f"{what} has a leave handler already.")
        names = self.events.outer_names
        self._leave = Registration(f"{what}, leave", handler, middlewares, LEAVE, names)

    def _repeat(self, step: Callable[[Any], object]) -> None:
        """Do the same with each copy of a router's lobby; see `RouterLobby`."""

    def left(self, channel: Channel, user: User, reason: LeaveReason) -> Work | None:
        """Return what is left to do after a user's last connection has left; None if nothing."""
        if self._leave is None:
            return None
        return partial(_call_leave, self._leave, LeaveContext(channel, user, reason))


async def _call_leave(registration: Registration[LeaveContext], context: LeaveContext) -> None:
    channel = context.channel
    await run_last(
        "leave",
        context,
        registration.call(context),
        channel.owner.environment,
        (channel.name, "LEAVE", context.user.id, channel.path),
    )


async def run_last(
    kind: Literal["leave", "disconnect"],
    context: object,
    call: Coroutine[Any, Any, object],
    environment: Environment,
    where: tuple[str, str, str, str],
) -> None:
    """Await a handler that runs after an end, within its time limit. Log and count a failure.

    Args:
        kind: Its kind, for the log.
        context: What the handler is given.
        where: What the hook for errors is told: channel, event, user, path.
    """
    channel_name, _, _, path = where
    timeout = environment.options.leave_timeout
    # Shielded: it runs after the end, often in a connection that is being cancelled.
    with anyio.CancelScope(shield=True) as limit:
        limit.deadline = math.inf if timeout is None else anyio.current_time() + timeout
        try:
            await call
        except BaseException as error:  # noqa: BLE001 - boundary: a handler
            failure = failure_of(error)
            text = "A %s handler failed (channel=%r user=%r path=%r)."
            extra = _fields(context, where)
            _log.error(text, kind, channel_name, where[2], path, exc_info=failure, extra=extra)
            environment.failures.report(ErrorContext(failure, kind, context, *where))
    if limit.cancelled_caught:
        text = "A %s handler took over %s s (channel=%r path=%r)."
        extra = _fields(context, where)
        _log.error(text, kind, timeout, channel_name, path, extra=extra)


def _fields(context: object, where: tuple[str, str, str, str]) -> dict[str, str]:
    channel, event, user, path = where
    told = about(channel=channel, event=event, user=user, endpoint=path)
    connection = getattr(context, "connection", None)  # a leave is the user's, of all connections
    return told if connection is None else told | {"connection": connection.ref}
