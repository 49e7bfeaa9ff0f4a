"""The event handlers of a lobby, or of an endpoint itself."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

import anyio
from pondsocket_common import RESERVED_EVENTS, ClientMessage, EncodingError, ErrorTypes

from . import _answers as answers
from ._contexts import EventContext
from ._environment import Environment
from ._errors import InvalidPayload, PondError, UsageError
from ._frames import Frame
from ._handlers import Handler, Middleware, Registration, find
from ._kinds import EVENT
from ._loop import is_cancellation
from ._state.patterns import Pattern, PatternMap, Route

_log: Final = logging.getLogger("pondsocket.events")


F = TypeVar("F", bound=Callable[..., Any])


class Events:
    """Event handlers by pattern.

    Args:
        what: Whose they are, for sentences.
        outer_names: The parameters of the channel's or endpoint's pattern.
        failure: The error type of a `PondError` that a handler raises.
    """

    def __init__(self, what: str, outer_names: frozenset[str], failure: ErrorTypes) -> None:
        self._what = what
        self._outer_names = outer_names
        self._failure = failure
        self._table: PatternMap[Registration[EventContext]] = PatternMap()
        self.any_concurrent = False

    def add(
        self,
        pattern: str,
        handler: Handler,
        middlewares: Sequence[Middleware[EventContext]],
        *,
        concurrent: bool,
    ) -> None:
        """Register a handler.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """
        what = f"{self._what}, event {pattern!r}"
        own = Pattern(pattern)
        if own.literal in RESERVED_EVENTS:
            raise UsageError(f"{what}: that is a name of the protocol's own; choose another.")
        names = self._outer_names | own.names
        registration = Registration(what, handler, middlewares, EVENT, names, concurrent=concurrent)
        self._table.add(pattern, registration)
        self.any_concurrent = self.any_concurrent or concurrent

    def is_concurrent(self, event: str, params: Mapping[str, str]) -> bool:
        """Whether the event's handler asked to be called out of turn."""
        if not self.any_concurrent:
            return False
        found = find(self._table, event, params)
        return found is not None and found[0].concurrent

    async def handle(
        self,
        message: ClientMessage,
        params: Mapping[str, str],
        make_context: Callable[[Route], EventContext],
        send: Callable[[Frame], None],
        user_id: str,
        environment: Environment,
    ) -> None:
        """Have the first handler that matches and fits deal with an event. Never raises."""
        found = find(self._table, message.event, params)
        if found is None:
            text = f"Nobody handles the event {message.event} here."
            send(answers.fault(message, ErrorTypes.HANDLER_NOT_FOUND, 404, text))
            return
        registration, route = found
        if environment.observer is not None:
            environment.observer.message(message.channel_name, message.event, user_id)
        try:
            await registration.call(make_context(route))
        except (Exception, anyio.get_cancelled_exc_class()) as error:  # boundary: a handler
            if is_cancellation(error):
                raise
            send(self._answer(message, error, user_id, environment))

    def _answer(
        self, message: ClientMessage, error: BaseException, user_id: str, environment: Environment
    ) -> Frame:
        try:
            if isinstance(error, PondError):
                return answers.fault(message, self._failure, error.code, error.message)
            if isinstance(error, InvalidPayload):
                kind, details = ErrorTypes.INVALID_MESSAGE, error.details
                return answers.fault(message, kind, 422, str(error), details=details)
        except EncodingError as unsayable:  # a validator's own words may hold anything
            error = unsayable
        _log.error(
            "An event handler failed (channel=%r event=%r user=%r request=%r).",
            message.channel_name,
            message.event,
            user_id,
            message.request_id,
            exc_info=error,
        )
        if environment.observer is not None:
            environment.observer.error(error, message.channel_name, message.event, user_id)
        return answers.fault(message, ErrorTypes.INTERNAL_SERVER_ERROR, 500, answers.INTERNAL)


class TakesEvents:
    """The base of whatever has event handlers: a lobby, and an endpoint."""

    _events: Events

    @overload
    def on_message(
        self,
        event_pattern: str,
        handler: F,
        *more: Middleware[EventContext],
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
    ) -> F: ...
    @overload
    def on_message(
        self,
        event_pattern: str,
        *,
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
    ) -> Callable[[F], F]: ...
    def on_message(
        self,
        event_pattern: str,
        handler: Any = None,
        *more: Middleware[EventContext],
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
    ) -> Any:
        """Handle events that clients send; the first registered pattern that matches does.

        A call, or without a handler a decorator.

        Args:
            concurrent: Call it out of turn: events of one client that match do not wait for each
                other, nor for anything else that the client does there.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """

        def register(function: F) -> F:
            chain = [*middlewares, *more]
            self._events.add(event_pattern, function, chain, concurrent=concurrent)
            return function

        return register if handler is None else register(handler)
