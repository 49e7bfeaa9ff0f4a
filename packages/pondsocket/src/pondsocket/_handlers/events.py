"""The event handlers of a lobby, or of an endpoint itself."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import CoroutineType
from typing import Any, Final, Generic, Protocol, TypeVar, overload

from pondsocket_common import (
    RESERVED_EVENTS,
    ClientMessage,
    EncodingError,
    ErrorTypes,
    ServerMessage,
)

from pondsocket._contexts import EventContext
from pondsocket._delivery import replies
from pondsocket._environment import Environment
from pondsocket._errors import PondError, UsageError
from pondsocket._log import about, get_log
from pondsocket._runtime.driving import drive
from pondsocket._runtime.loop import failure_of
from pondsocket._signatures.parameters import Kind
from pondsocket._state.patterns import Pattern, PatternMap, Route, check_text
from pondsocket._telemetry.failures import ErrorContext

from .answers import answer_of
from .kinds import EVENT
from .layers import Layer
from .registration import NOT_GIVEN, Handler, Middleware, Registration, explain, find

_log: Final = get_log("pondsocket.events")


F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=EventContext)


class Sender(Protocol):
    """The sender of an event: a member, or the connection itself."""

    @property
    def user_id(self) -> str: ...
    @property
    def path(self) -> str: ...
    def send(self, message: ServerMessage) -> None: ...
    def charge(self, request: ClientMessage, error_count: int) -> None: ...


S = TypeVar("S", bound=Sender)


class Events(Generic[S]):
    """Event handlers by pattern.

    Args:
        what: What has the handlers, for error messages.
        outer_names: The parameters of the channel's or endpoint's pattern.
        failure: The error type of a `PondError` that a handler raises.
        make_context: The class of a handler's context, which is made of the event's sender.
        kind: The kind of the handlers.

    Attributes:
        layer: The middleware around all handlers.
        included: What was included: routers, and instances of classes.
    """

    def __init__(
        self,
        what: str,
        outer_names: frozenset[str],
        failure: ErrorTypes,
        make_context: Callable[[S, ClientMessage, Route], EventContext],
        kind: Kind[Any] = EVENT,
    ) -> None:
        self.what = what
        self._make_context = make_context
        self.outer_names = outer_names
        self._kind = kind
        self._failure = failure
        self._table: PatternMap[Registration[EventContext]] = PatternMap()
        self._exact = self._table.exact
        self.any_concurrent: bool = False
        self._on_concurrent: Callable[[], object] = bool
        self.layer: Layer = Layer()  # around all of them
        self._outer_layers: tuple[Layer, ...] = ()
        self.included: list[object] = []

    def add(
        self,
        pattern: str,
        handler: Handler,
        middlewares: Sequence[Middleware[Any]],
        *,
        concurrent: bool,
        confirm: bool,
        layers: Sequence[Layer] = (),
    ) -> None:
        """Register a handler.

        Args:
            layers: The routers that it comes from, the outermost first.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """
        what = f"{self.what}, event {pattern!r}"
        self._table.check_reachable(what, pattern)
        own = Pattern(pattern)
        if own.literal in RESERVED_EVENTS:
            raise UsageError(f"{what}: that is a name of the protocol's own; choose another.")
        registration: Registration[EventContext] = Registration(
            what,
            handler,
            middlewares,
            self._kind,
            self.outer_names | own.names,
            concurrent=concurrent,
            confirm=confirm,
            layers=(*self._outer_layers, self.layer, *layers),
        )
        self._table.add(pattern, registration, is_final=not registration.is_selective)
        if concurrent:
            self.any_concurrent = True
            self._on_concurrent()

    def surround(self, layers: Sequence[Layer]) -> None:
        """Put the middleware of more groups around all of them, also around later ones."""
        self._outer_layers = (*layers, *self._outer_layers)
        for registration in self._table:
            registration.surround(layers)

    def watch(self, on_concurrent: Callable[[], object]) -> None:
        """Call `on_concurrent` when a concurrent handler is added; at once if there is one."""
        self._on_concurrent = on_concurrent
        if self.any_concurrent:
            on_concurrent()

    def is_concurrent(self, event: str, params: Mapping[str, str]) -> bool:
        """Return whether the event's handler is registered as concurrent."""
        if not self.any_concurrent:
            return False
        found = find(self._table, event, params)
        return found is not None and found[0].concurrent

    def handle(
        self,
        sender: S,
        message: ClientMessage,
        params: Mapping[str, str],
        environment: Environment,
    ) -> Coroutine[Any, Any, None] | None:
        """Call the first handler that matches and fits. Never raises.

        Returns:
            The rest of the work if the handler waits, to be awaited; else None.
        """
        found = self._exact.get(message.event)
        if found is None or found[0].is_selective:
            found = find(self._table, message.event, params)
        if found is None:
            text = f"There is no handler for the event {message.event} here."
            text += explain(self._table, message.event, params)
            sender.send(replies.fault(message, ErrorTypes.HANDLER_NOT_FOUND, 404, text))
            return None
        registration, route = found
        if environment.observer is not None:
            name, event = message.channel_name, message.event
            environment.observer.message(name, event, sender.user_id, sender.path)
        rest: Awaitable[object] | None
        try:
            make_context = self._make_context  # likewise `begin`: see `Member.send`
            context = make_context(sender, message, route)
        except BaseException as error:  # noqa: BLE001 - boundary: what an application has made
            self._answer(message, failure_of(error), None, sender, environment)
            return None
        try:
            begin = registration.begin
            rest = begin(context)
            if type(rest) is CoroutineType:
                # Driven here, without another coroutine around it, which most handlers never
                # need: microbench.py, "event, the handler does nothing; core", 6 us.
                rest = drive(rest, waited_for=rest.send(None))
        except StopIteration as done:
            if done.value is not None and registration.finish is not None:
                rest = registration.finish(context, done.value)
            elif message.confirm or registration.confirm:
                rest = None
            else:
                return None
        except BaseException as error:  # noqa: BLE001 - boundary: a handler
            self._answer(message, failure_of(error), context, sender, environment)
            return None
        return self._finish(rest, registration, context, sender, environment)

    async def _finish(
        self,
        rest: Awaitable[object] | None,
        registration: Registration[EventContext],
        context: EventContext,
        sender: Sender,
        environment: Environment,
    ) -> None:
        try:
            returned = None if rest is None else await rest
            if returned is not None and registration.finish is not None:
                await registration.finish(context, returned)
            if (context.message.confirm or registration.confirm) and not context.has_replied():
                await context.reply(context.event_name)
        except BaseException as error:  # noqa: BLE001 - boundary: a handler
            self._answer(context.message, failure_of(error), context, sender, environment)

    def _answer(
        self,
        message: ClientMessage,
        error: BaseException,
        context: EventContext | None,
        sender: Sender,
        environment: Environment,
    ) -> None:
        """Send the answer to an event whose handler has failed."""
        told, failure = answer_of(error)
        try:
            if isinstance(told, PondError):
                code, text = told.code, told.message
                sender.send(replies.fault(message, self._failure, code, text, told.retry_after_ms))
            elif told is not None:
                sender.charge(message, told.count)
                sender.send(replies.unfit(message, told))
        except EncodingError as error:  # a validator's message may hold any text
            told, failure = None, error
        if failure is not None:
            _log.error(
                "An event handler failed (channel=%r event=%r user=%r request=%r path=%r).",
                message.channel_name,
                message.event,
                sender.user_id,
                message.request_id,
                sender.path,
                exc_info=failure,
                extra=about(sender, channel=message.channel_name, event=message.event),
            )
            where = message.channel_name, message.event, sender.user_id, sender.path
            environment.failures.report(ErrorContext(failure, "event", context, *where))
        if told is None:
            internal = ErrorTypes.INTERNAL_SERVER_ERROR
            text = environment.told(failure or error)
            sender.send(replies.fault(message, internal, 500, text))


class TakesEvents(Generic[E]):
    """The base class of lobbies and endpoints, which have event handlers."""

    events: Events[Any]

    @overload
    def on_message(
        self,
        event_pattern: str,
        handler: F,
        *more: Middleware[E],
        middlewares: Sequence[Middleware[E]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> F: ...
    @overload
    def on_message(
        self,
        event_pattern: str,
        *,
        middlewares: Sequence[Middleware[E]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> Callable[[F], F]: ...
    def on_message(
        self,
        event_pattern: str,
        handler: Any = NOT_GIVEN,
        *more: Middleware[E],
        middlewares: Sequence[Middleware[E]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> Any:
        """Register a handler of events that clients send; the first pattern that matches wins.

        Use it as a call or, without a handler, as a decorator.

        Args:
            concurrent: Whether matching events are handled at once: events of one client then wait
                neither for each other nor for other messages of the client to the channel.
            confirm: Whether every event is answered: with `{}` if the handler has no reply. A
                client may also ask for it, event by event.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """

        def register(function: F) -> F:
            chain = [*middlewares, *more]
            self.events.add(event_pattern, function, chain, concurrent=concurrent, confirm=confirm)
            self._repeat(
                lambda copy: copy.on_message(
                    event_pattern, function, *chain, concurrent=concurrent, confirm=confirm
                )
            )
            return function

        check_text('@….on_message("event")', event_pattern)
        return register if handler is NOT_GIVEN else register(handler)

    def _repeat(self, step: Callable[[Any], object]) -> None:
        """Do the same with each copy of a router's lobby; see `RouterLobby`."""
