"""Outgoing handlers: they intercept a broadcast, once for each member that is to get it."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

from pondsocket_common import Payload, dump_json

from pondsocket._channel.channel import ChannelMember
from pondsocket._contexts import OutgoingContext
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.ordered import PendingFrame
from pondsocket._errors import UsageError
from pondsocket._log import about, get_log
from pondsocket._runtime.functions import is_async
from pondsocket._runtime.loop import failure_of
from pondsocket._state.patterns import PatternMap, check_text
from pondsocket._telemetry.failures import ErrorContext

from .events import Events
from .registration import NOT_GIVEN, NextStep, check_callable, check_is_bound

_log: Final = get_log("pondsocket.outgoing")

F = TypeVar("F", bound=Callable[..., Any])

OutgoingHandler: TypeAlias = Callable[[OutgoingContext], object]
"""`def handler(ctx)`, run inside the fan-out loop, or `async def handler(ctx)`."""

OutgoingMiddleware: TypeAlias = Callable[[OutgoingContext, Callable[[], Any]], object]
"""`def middleware(ctx, next)` around a `def` handler, or `async def` around any."""


class Outgoing:
    """One registered outgoing handler with its middleware.

    Attributes:
        is_async: Whether any of them is `async def`.

    Raises:
        UsageError: One of them has the wrong form.
    """

    def __init__(
        self, what: str, handler: OutgoingHandler, middlewares: Sequence[OutgoingMiddleware]
    ) -> None:
        check_is_bound(what, handler)
        check_callable(what, handler, arguments=1)
        self.is_async: bool = is_async(handler)
        self.run: OutgoingHandler = handler
        for middleware in reversed(middlewares):
            check_callable(f"{what}, middleware", middleware, arguments=2)
            if is_async(middleware):
                self.run = _around(middleware, self.run if self.is_async else _as_async(self.run))
                self.is_async = True
            elif self.is_async:
                # Its `next()` would return a coroutine. If it is not awaited, the handler does
                # not run, and what it should withhold is sent.
                raise UsageError(
                    f"{what}: middleware around `async def` must be `async def` itself, and"
                    " await `next()`."
                )
            else:
                self.run = _around(middleware, self.run)

    def bind(self, payload: Payload, frame: Frame) -> "BoundOutgoing":
        """Bind it to one broadcast."""
        return BoundOutgoing(self, payload, frame)


class BoundOutgoing:
    """An outgoing handler, bound to one broadcast."""

    def __init__(self, outgoing: Outgoing, payload: Payload, frame: Frame) -> None:
        self.is_async: bool = outgoing.is_async
        self._outgoing = outgoing
        self._payload = payload
        self._frame = frame

    def make(self, member: ChannelMember) -> Frame | None:
        """Return this member's copy; None if it is withheld."""
        context = self._context(member)
        try:
            outcome = self._outgoing.run(context)
            if isinstance(outcome, Awaitable):
                if isinstance(outcome, Coroutine):
                    outcome.close()  # or Python warns that it was never awaited
                raise UsageError("It must be awaited, so write it as `async def`.")
            return self._copy(context)
        except BaseException as error:  # noqa: BLE001 - boundary: an outgoing handler
            self._withhold(member, context, error)
            return None

    def make_pending(self, member: ChannelMember) -> PendingFrame:
        """Return this member's copy, to be awaited."""
        return PendingFrame(partial(self._make_pending, member), self._frame)

    async def _make_pending(self, member: ChannelMember) -> Frame | None:
        context = self._context(member)
        try:
            await cast(Awaitable[object], self._outgoing.run(context))
            return self._copy(context)
        except BaseException as error:  # noqa: BLE001 - boundary: an outgoing handler
            self._withhold(member, context, error)
            return None

    def _context(self, member: ChannelMember) -> OutgoingContext:
        event = self._frame.message.event
        return OutgoingContext(member.channel, event, self._payload, member)

    def _copy(self, context: OutgoingContext) -> Frame | None:
        if context.blocked:
            return None
        if not context.transformed:
            return self._frame
        # With the same request id: all copies are one broadcast.
        _, event, name, request_id, _, position = self._frame.message
        payload = dump_json(context.get_payload())
        copy = Frame.broadcast(name, event, request_id, payload, position)
        return copy.copy_marks(self._frame)

    def _withhold(
        self, member: ChannelMember, context: OutgoingContext, error: BaseException
    ) -> None:
        # Outgoing handlers are often filters. Sending what one failed to filter would be a leak.
        failure = failure_of(error)
        channel, event = member.channel, self._frame.message.event
        _log.error(
            "An outgoing handler failed; the member does not get this event"
            " (channel=%r event=%r user=%r path=%r).",
            channel.name,
            event,
            member.user_id,
            channel.path,
            exc_info=failure,
            extra=about(member, channel=channel.name, event=event),
        )
        failed = context, channel.name, event, member.user_id, channel.path
        channel.owner.environment.failures.report(ErrorContext(failure, "outgoing", *failed))


class InterceptsOutgoing:
    """The outgoing handlers of a lobby. A base class of `Lobby`."""

    events: Events[Any]

    def __init__(self) -> None:
        self._outgoing: PatternMap[Outgoing] = PatternMap()
        self.has_outgoing: bool = False
        self.has_async_outgoing: bool = False

    @overload
    def on_outgoing(
        self,
        event_pattern: str,
        handler: F,
        *more: OutgoingMiddleware,
        middlewares: Sequence[OutgoingMiddleware] = (),
    ) -> F: ...
    @overload
    def on_outgoing(
        self, event_pattern: str, *, middlewares: Sequence[OutgoingMiddleware] = ()
    ) -> Callable[[F], F]: ...
    def on_outgoing(
        self,
        event_pattern: str,
        handler: Any = NOT_GIVEN,
        *more: OutgoingMiddleware,
        middlewares: Sequence[OutgoingMiddleware] = (),
    ) -> Any:
        """Register a handler that may change or withhold a broadcast for each member.

        Use it as a call or, without a handler, as a decorator. A `def` handler runs inside the
        fan-out loop. An `async def` handler may wait, and delays its channel for that member alone.

        Raises:
            UsageError: The pattern or the handler cannot work, or members have joined already.
        """

        def register(function: OutgoingHandler) -> OutgoingHandler:
            chain = [*middlewares, *more]
            self.add_outgoing(event_pattern, function, chain)
            self._repeat(lambda copy: copy.on_outgoing(event_pattern, function, *chain))
            return function

        check_text('@lobby.on_outgoing("event")', event_pattern)
        return register if handler is NOT_GIVEN else register(handler)

    def add_outgoing(
        self,
        event_pattern: str,
        handler: OutgoingHandler,
        middlewares: Sequence[OutgoingMiddleware],
    ) -> None:
        """Register an outgoing handler; see `on_outgoing`."""
        what = f"{self.events.what}, outgoing {event_pattern!r}"
        self._outgoing.check_reachable(what, event_pattern)
        outgoing = Outgoing(what, handler, middlewares)
        if outgoing.is_async and self._has_members():
            raise UsageError(f"{what}: register it before the first member joins.")
        self._outgoing.add(event_pattern, outgoing, is_final=True)
        self.has_outgoing = True
        self.has_async_outgoing = self.has_async_outgoing or outgoing.is_async

    def _repeat(self, step: Callable[[Any], object]) -> None:
        """Do the same with each copy of a router's lobby; see `RouterLobby`."""

    def interception(self, event: str) -> Outgoing | None:
        """Return the outgoing handlers of an event; None if there are none."""
        found = self._outgoing.match(event)
        return None if found is None else found[0]

    def _has_members(self) -> bool:
        """Return whether a channel of the lobby has members."""
        raise NotImplementedError


def _around(middleware: OutgoingMiddleware, inner: OutgoingHandler) -> OutgoingHandler:
    return lambda ctx: middleware(ctx, NextStep(inner, ctx, middleware))


def _as_async(handler: OutgoingHandler) -> OutgoingHandler:
    async def call(ctx: OutgoingContext) -> object:
        return handler(ctx)

    return call
