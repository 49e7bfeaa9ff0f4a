"""Handlers that are methods of a class, which are registered when an instance is included.

The decorators here only mark the methods. A class is read from the instance's class up to its
bases, as Python looks methods up: one that a subclass overrides is registered once, and calls the
subclass's.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, overload

from pondsocket._contexts import JoinContext, LeaveContext
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._errors import UsageError
from pondsocket._history.log import History
from pondsocket._state.overlap import covers
from pondsocket._state.patterns import check_text

from .interception import OutgoingMiddleware
from .layers import contexts_of
from .registration import NOT_GIVEN, Middleware

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type[Any])

_MARKS: Final = "__pondsocket_marks__"
_CHANNEL: Final = "__pondsocket_channel__"

MarkKind: TypeAlias = Literal["message", "outgoing", "join", "leave"]


class Mark(NamedTuple):
    """What a decorator says of a method.

    Args:
        pattern: Of events; empty for joins and leaves.
    """

    kind: MarkKind
    pattern: str
    middlewares: tuple[Any, ...]
    concurrent: bool = False
    confirm: bool = False

    @property
    def decorator(self) -> str:
        """The decorator, for error messages."""
        return f"@on_{self.kind}({self.pattern!r})" if self.pattern else f"@on_{self.kind}"


class ChannelMark(NamedTuple):
    """What `@channel(…)` says of a class."""

    pattern: str
    middlewares: tuple[Middleware[JoinContext], ...]
    slow_consumers: SlowConsumers
    history: History | None


class Method(NamedTuple):
    """A marked method, bound to an instance."""

    mark: Mark
    function: Callable[..., Any]


def on_message(
    event_pattern: str,
    *,
    middlewares: Sequence[Middleware[Any]] = (),
    concurrent: bool = False,
    confirm: bool = False,
) -> Callable[[F], F]:
    """Make a method the handler of an event, once an instance of its class is included.

    Args:
        concurrent: Whether matching events are handled at once; see `Lobby.on_message`.
        confirm: Whether events without a reply are answered; see `Lobby.on_message`.

    Raises:
        UsageError: It is no pattern, or the function is no method.
    """
    check_text('@on_message("event")', event_pattern)
    return _marking(Mark("message", event_pattern, tuple(middlewares), concurrent, confirm))


def on_outgoing(
    event_pattern: str, *, middlewares: Sequence[OutgoingMiddleware] = ()
) -> Callable[[F], F]:
    """Make a method change or withhold broadcasts, once an instance is included in a lobby.

    Raises:
        UsageError: It is no pattern, or the function is no method.
    """
    check_text('@on_outgoing("event")', event_pattern)
    return _marking(Mark("outgoing", event_pattern, tuple(middlewares)))


@overload
def on_leave(method: F, /) -> F: ...
@overload
def on_leave(*, middlewares: Sequence[Middleware[LeaveContext]] = ()) -> Callable[[F], F]: ...
def on_leave(
    method: Any = NOT_GIVEN, /, *, middlewares: Sequence[Middleware[LeaveContext]] = ()
) -> Any:
    """Make a method the leave handler, once an instance of its class is included in a lobby.

    Raises:
        UsageError: The function is no method.
    """
    mark = _marking(Mark("leave", "", tuple(middlewares)))
    return mark if method is NOT_GIVEN else mark(method)


@overload
def on_join(method: F, /) -> F: ...
@overload
def on_join(*, middlewares: Sequence[Middleware[JoinContext]] = ()) -> Callable[[F], F]: ...
def on_join(
    method: Any = NOT_GIVEN, /, *, middlewares: Sequence[Middleware[JoinContext]] = ()
) -> Any:
    """Make a method decide who may join, in a class with `@channel(…)`.

    Raises:
        UsageError: The function is no method.
    """
    mark = _marking(Mark("join", "", tuple(middlewares)))
    return mark if method is NOT_GIVEN else mark(method)


def channel(
    pattern: str,
    *,
    middlewares: Sequence[Middleware[JoinContext]] = (),
    slow_consumers: SlowConsumers = "close",
    history: History | None = None,
) -> Callable[[T], T]:
    """Make a class the lobby of a channel pattern, once an instance is included in an endpoint.

    Args:
        slow_consumers: The policy for a member whose outbox is full: see `Lobby`.
        history: What each channel keeps for clients that were away; None: nothing.

    Raises:
        UsageError: It is no pattern, or what is decorated is no class.
    """
    check_text('@channel("/name")', pattern)
    mark = ChannelMark(pattern, tuple(middlewares), slow_consumers, history)

    def decorate(cls: T) -> T:
        if not isinstance(cls, type):
            raise UsageError(
                f"@channel({pattern!r}) is for a class, whose join handler is a method with"
                " `@on_join`; for a function, write `@endpoint.channel(…)` or `@router.channel(…)`."
            )
        setattr(cls, _CHANNEL, mark)
        return cls

    return decorate


def _marking(mark: Mark) -> Callable[[F], F]:
    def decorate(method: F) -> F:
        function = getattr(method, "__func__", method)  # of a staticmethod or classmethod
        if not callable(function) or isinstance(function, type):
            raise UsageError(f"{mark.decorator} is for a method of a class, not {method!r}.")
        if method is function and not _may_be_method(function):
            raise UsageError(
                f"{mark.decorator} of pondsocket is for methods, which take `self` first; for"
                f" the function {function.__name__}, write it with the lobby, endpoint or router:"
                f" `@lobby.{mark.decorator.removeprefix('@')}`."
            )
        # A tuple of its own: `functools.wraps` shares what a function holds with its wrapper.
        setattr(function, _MARKS, (*getattr(function, _MARKS, ()), mark))
        return method

    return decorate


def _may_be_method(function: Callable[..., Any]) -> bool:
    if not inspect.isfunction(function):
        return True
    inside = function.__qualname__.rpartition(".")[0]
    if inside.endswith("<locals>"):  # perhaps the wrapper that a decorator has put around a method
        return not contexts_of(function)
    return bool(inside)


def channel_of(instance: object) -> ChannelMark | None:
    """Return what `@channel(…)` says of the instance's class, or of a base; None: nothing."""
    mark: ChannelMark | None = getattr(type(instance), _CHANNEL, None)
    return mark


def is_marked(cls: type[Any]) -> bool:
    """Return whether a class is one of which instances can be included."""
    return hasattr(cls, _CHANNEL) or next(_marked_names(cls), None) is not None


def methods_of(instance: object) -> list[Method]:
    """Return the marked methods of an instance, in the order in which they are registered.

    Those of a subclass come first, in the order in which they are written, but behind the patterns
    of its bases that they would hide: a subclass may add a `*`.
    """
    found: list[tuple[type[Any], Method]] = []
    for owner, name, marks in _marked_names(type(instance)):
        function = getattr(instance, name)
        for mark in marks:
            place = next(
                (
                    place
                    for place, (other, earlier) in enumerate(found)
                    if other is not owner and _hides(earlier.mark, mark)
                ),
                len(found),
            )
            found.insert(place, (owner, Method(mark, function)))
    return [method for _, method in found]


def _hides(earlier: Mark, mark: Mark) -> bool:
    return (
        earlier.kind == mark.kind
        and earlier.pattern != mark.pattern
        and covers(earlier.pattern, mark.pattern)
    )


def _marked_names(cls: type[Any]) -> Iterator[tuple[type[Any], str, tuple[Mark, ...]]]:
    """Yield the names of marked methods, the class that has written each, and its marks."""
    seen: set[str] = set()
    for owner in cls.__mro__:
        for name in vars(owner):
            if name in seen:
                continue
            seen.add(name)
            if vars(owner)[name] is not None and (marks := _marks_of(cls, name)):
                yield owner, name, marks


def _marks_of(cls: type[Any], name: str) -> tuple[Mark, ...]:
    """Return the marks of a method: its own, else those of the method that it overrides."""
    for owner in cls.__mro__:
        method = vars(owner).get(name)
        marks: object = getattr(getattr(method, "__func__", method), "__dict__", {}).get(_MARKS)
        if isinstance(marks, tuple):
            return marks
    return ()
