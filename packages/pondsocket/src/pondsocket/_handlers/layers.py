"""Middleware around groups of handlers: those of an endpoint, of a router, of a lobby.

`use` puts middleware around all handlers of a group, also around those that are registered later.
The context in the middleware's signature says around which: events, joins, connections.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Final, NamedTuple, Protocol, TypeVar, Union, get_args, get_origin
from weakref import WeakSet

from pondsocket._contexts import (
    ConnectionContext,
    DisconnectContext,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    SyncDisconnectContext,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from pondsocket._errors import UsageError
from pondsocket._runtime.functions import hints_of, name_of, peel

# By kind of context, a derived class before its base.
_REMEDIES: Final[dict[type[Any], str]] = {
    DisconnectContext: "pass it behind the handler: `on_disconnect(handler, …)`",
    GatewayContext: "write `endpoint.use(…)`",
    ConnectionContext: "write `endpoint.use(…)`",
    EventContext: "write `lobby.use(…)`, `endpoint.use(…)` or `on_message(event, handler, …)`",
    JoinContext: "write `lobby.use(…)`, `endpoint.use(…)` or pass it behind the join handler",
    LeaveContext: "pass it behind the handler: `on_leave(handler, …)`",
    OutgoingContext: "pass it behind the handler: `on_outgoing(event, handler, …)`",
    SyncDisconnectContext: "middleware is `async def`, so write `ctx: DisconnectContext`",
    SyncGatewayContext: "middleware is `async def`, so write `ctx: GatewayContext`",
    SyncEventContext: "middleware is `async def`, so write `ctx: EventContext`",
    SyncJoinContext: "middleware is `async def`, so write `ctx: JoinContext`",
    SyncLeaveContext: "middleware is `async def`, so write `ctx: LeaveContext`",
}
_WORD: Final = re.compile(r"\w+")


class Composed(Protocol):
    """A handler with the middleware around it."""

    def __hash__(self) -> int: ...
    def compose(self) -> None:
        """Put the middleware of its layers around it anew."""
        ...


class Use(NamedTuple):
    """Middleware, and the contexts that it may be given."""

    middleware: Callable[..., Any]
    contexts: tuple[type[Any], ...]

    def is_for(self, context: object) -> bool:
        """Return whether it goes around handlers that are given this class of context."""
        return isinstance(context, type) and issubclass(context, self.contexts)


class Layer:
    """The middleware around one group of handlers."""

    __slots__ = ("_inside", "_uses")

    def __init__(self) -> None:
        self._uses: list[Use] = []
        self._inside: WeakSet[Composed] = WeakSet()

    def add(self, uses: Sequence[Use]) -> None:
        """Add middleware inside the existing middleware, around handlers of now and of later."""
        self._uses += uses
        for handler in list(self._inside):
            handler.compose()

    def watch(self, handler: Composed) -> None:
        """Let the handler be composed anew when middleware is added."""
        self._inside.add(handler)

    def around(self, context: object) -> list[Callable[..., Any]]:
        """Return the middleware around handlers that are given this class, the outermost first."""
        return [use.middleware for use in self._uses if use.is_for(context)]


def uses_of(
    what: str,
    middlewares: Sequence[Callable[..., Any]],
    default: type[Any],
    *others: type[Any],
) -> list[Use]:
    """Return around which handlers each middleware goes, by the context in its signature.

    Args:
        what: What has the handlers, for error messages.
        default: What middleware is given that names no context.
        others: What else it may ask for.

    Raises:
        UsageError: It asks for another context, or what it asks for cannot be read.
    """
    return [
        Use(each, _asked_for(what, each, (default, *others)) or (default,)) for each in middlewares
    ]


def check_context(what: str, middleware: Callable[..., Any], context: type[Any]) -> None:
    """Refuse middleware that asks for the context of another kind of handler.

    Raises:
        UsageError: It does; the message says what to write.
    """
    asked = contexts_of(middleware)
    if asked and not any(issubclass(each, context) or issubclass(context, each) for each in asked):
        _refuse(what, middleware, asked[0])


def _asked_for(
    what: str, middleware: Callable[..., Any], given: tuple[type[Any], ...]
) -> tuple[type[Any], ...]:
    asked = contexts_of(middleware)
    if asked is None:
        raise UsageError(
            f"{what}: the context of {name_of(middleware)} cannot be read, and says around what it"
            " goes; import its class outside of `if TYPE_CHECKING`."
        )
    for each in asked:
        if _kind_of(each) not in given:
            _refuse(what, middleware, each)
    return asked


def _kind_of(context: type[Any]) -> type[Any]:
    return next(known for known in _REMEDIES if issubclass(context, known))


def _refuse(what: str, middleware: Callable[..., Any], asked: type[Any]) -> None:
    remedy = _REMEDIES[_kind_of(asked)]
    raise UsageError(
        f"{what}: {name_of(middleware)} is middleware around another kind of handler, as it asks"
        f" for {asked.__name__}; {remedy}."
    )


def contexts_of(middleware: Callable[..., Any]) -> tuple[type[Any], ...] | None:
    """Return the classes that a middleware's signature names for its context.

    Returns:
        None if the name cannot be resolved; nothing if no context of ours is named.
    """
    try:
        signature = inspect.signature(middleware)
    except (TypeError, ValueError):
        return ()
    first = next(iter(signature.parameters.values()), None)
    if first is None:
        return ()
    try:
        hint = hints_of(middleware, signature)[first.name]
    except NameError:  # perhaps of another annotation
        written = first.annotation
        if not isinstance(written, str):
            return _contexts_in(written)
        named = tuple(_BY_NAME[word] for word in _WORD.findall(written) if word in _BY_NAME)
        return named or None
    return _contexts_in(hint)


def _contexts_in(hint: Any) -> tuple[type[Any], ...]:
    hint, _ = peel(hint)
    if isinstance(hint, TypeVar):
        bound = hint.__bound__
        return tuple(each for one in hint.__constraints__ or (bound,) for each in _contexts_in(one))
    if get_origin(hint) in (Union, UnionType):
        return tuple(each for option in get_args(hint) for each in _contexts_in(option))
    return (hint,) if isinstance(hint, type) and issubclass(hint, tuple(_REMEDIES)) else ()


_BY_NAME: Final = {each.__name__: each for each in _REMEDIES}
