"""What endpoints, lobbies and routers can include: routers, and instances of classes."""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Protocol, TypeAlias
from weakref import ref

from pondsocket._errors import UsageError

from .events import Events
from .interception import InterceptsOutgoing
from .layers import Layer, contexts_of
from .leaving import HandlesLeaves
from .methods import ChannelMark, Method, channel_of, is_marked, methods_of
from .registration import Handler, Middleware

Layers: TypeAlias = tuple[Layer, ...]


class Target(Protocol):
    """What a part is included in, in the end: an endpoint, or a lobby."""

    events: Events[Any]

    def open_lobby(
        self,
        pattern: str,
        handler: Handler,
        middlewares: Sequence[Middleware[Any]],
        options: Mapping[str, Any],
        layers: Layers,
    ) -> "Target":
        """Serve the channels of a pattern."""
        ...


Step: TypeAlias = Callable[[Target, Layers, str], object]
"""Registers something at a target, inside of layers, with a prefix for patterns of channels."""


class Part:
    """Steps to be taken in each place where it is included, also those that are added later."""

    layer: Layer

    def __init__(self, what: str) -> None:
        self.what = what
        self.layer = Layer()
        self._steps: list[Step] = []
        # Weak: a router of a module must not keep every pond of a test suite.
        self._places: list[tuple[ref[Target], Layers, str]] = []

    def add_step(self, step: Step) -> None:
        """Add a step, and take it where the part is included already."""
        self._places = [place for place in self._places if place[0]() is not None]
        for known, layers, prefix in self._places:
            if (target := known()) is not None:
                step(target, layers, prefix)
        self._steps.append(step)

    def include_in(self, target: Target, layers: Layers, prefix: str) -> None:
        """Take all steps at a target."""
        inside = (*layers, self.layer)
        for step in list(self._steps):
            step(target, inside, prefix)
        self._places.append((ref(target), inside, prefix))


def include(target: Target, part: object, layers: Layers = (), prefix: str = "") -> None:
    """Include a router, or an instance of a class with handlers.

    Raises:
        UsageError: It is something else, is included there already, or does not fit there.
    """
    check_part(target.events.what, part)
    included = target.events.included
    if any(each is part for each in included):
        name = part.what if isinstance(part, Part) else f"this {type(part).__name__}(…)"
        raise UsageError(f"{target.events.what}: {name} is included there already.")
    included.append(part)
    try:
        if isinstance(part, Part):
            part.include_in(target, layers, prefix)
        else:
            _include_instance(target, part, layers, prefix)
    except BaseException:
        target.events.included = [each for each in target.events.included if each is not part]
        raise


def check_part(what: str, part: object) -> None:
    """Refuse what cannot be included.

    Raises:
        UsageError: It cannot; the message says what to write.
    """
    if isinstance(part, Part):
        return
    if isinstance(part, type):
        if issubclass(part, Part) or is_marked(part):
            raise UsageError(
                f"{what}: {part.__name__} is a class; include an instance of it:"
                f" `include({part.__name__}(…))`."
            )
    elif is_marked(type(part)):
        return
    raise UsageError(
        f"{what}: `include` takes a `Router`, or an object whose class has methods with"
        f' `@on_message("event")`, not {part!r}.'
    )


def _include_instance(target: Target, instance: object, layers: Layers, prefix: str) -> None:
    what = f"{target.events.what}, class {type(instance).__name__}"
    methods = methods_of(instance)
    joins = [each for each in methods if each.mark.kind == "join"]
    rest = [each for each in methods if each.mark.kind != "join"]
    mark = channel_of(instance)
    if mark is not None:
        target = _open_lobby(what, target, mark, joins, layers, prefix)
        layers = ()  # they are around the lobby
    elif joins:
        raise UsageError(
            f'{what}: a class with `@on_join` names its channels: write `@channel("/name")`'
            " above the class."
        )
    for (kind, pattern, middlewares, concurrent, confirm), function in rest:
        _check_self(what, function)
        if kind == "message":
            target.events.add(
                pattern,
                function,
                middlewares,
                concurrent=concurrent,
                confirm=confirm,
                layers=layers,
            )
        elif kind == "leave" and isinstance(target, HandlesLeaves):
            target.add_leave(function, middlewares)
        elif kind == "outgoing" and isinstance(target, InterceptsOutgoing):
            target.add_outgoing(pattern, function, middlewares)
        else:
            raise UsageError(
                f"{what}: `@on_{kind}` is of a channel: include it in a lobby, or write"
                ' `@channel("/name")` above the class.'
            )


def _check_self(what: str, method: Callable[..., Any]) -> None:
    if isinstance(method, MethodType) and contexts_of(method.__func__):
        raise UsageError(f"{what}: write `self` as the first parameter of {method.__name__}.")


def _open_lobby(
    what: str,
    target: Target,
    mark: ChannelMark,
    joins: Sequence[Method],
    layers: Layers,
    prefix: str,
) -> Target:
    if len(joins) != 1:
        raise UsageError(
            f"{what}: a class with `@channel` has one method with `@on_join`, which decides who may"
            f" join; this one has {len(joins) or 'none'}."
        )
    (join,) = joins
    _check_self(what, join.function)
    options = {"slow_consumers": mark.slow_consumers, "history": mark.history}
    chain = [*mark.middlewares, *join.mark.middlewares]
    return target.open_lobby(prefix + mark.pattern, join.function, chain, options, layers)
