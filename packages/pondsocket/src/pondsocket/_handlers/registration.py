"""Registration: checks and composes a handler and its middleware once, not for each message."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType, FunctionType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from pondsocket._errors import PondError, UsageError
from pondsocket._runtime.functions import is_async, may_wait, name_of
from pondsocket._signatures.marks import is_mark
from pondsocket._signatures.parameters import Kind
from pondsocket._signatures.typed_handler import TypedHandler
from pondsocket._state.patterns import PatternMap, Route

from .layers import Layer, check_context

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

Handler: TypeAlias = Callable[..., Any]
"""`async def handler(ctx, …)` or `def handler(ctx, …)`; see the page on typed handlers."""

Finish: TypeAlias = Callable[[C, object], Coroutine[Any, Any, None]]

Next: TypeAlias = Callable[[], Awaitable[Any]]
"""Middleware calls it to continue."""

NOT_GIVEN: Final[Any] = object()
"""In place of a handler where a decorator is asked for. None may be a handler that got lost."""


class Middleware(Protocol[C_contra]):
    """`async def middleware(ctx, next)`: it calls `next()` to continue, or stops the request."""

    def __call__(self, ctx: C_contra, next: Next, /) -> Awaitable[Any]:  # noqa: A002
        """Handle the request, or call `next()`."""
        ...


class Registration(Generic[C]):
    """A handler and its middleware, the first one outermost.

    Args:
        what: What is being registered, for error messages.
        path_names: The parameters of the patterns it is registered under.
        confirm: Whether its requests are answered in any case.
        layers: The groups that it is part of, whose middleware goes around its own.
        context: The class of what it is given; None: the kind's.

    Raises:
        UsageError: One of them cannot work; the message says what to write.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_kind",
        "_layers",
        "_typed",
        "begin",
        "call",
        "concurrent",
        "confirm",
        "explain",
        "finish",
        "fits",
        "handler",
        "is_selective",
        "may_wait",
        "middlewares",
    )

    def __init__(
        self,
        what: str,
        handler: Handler,
        middlewares: Sequence[Middleware[C]],
        kind: Kind[C],
        path_names: frozenset[str] = frozenset(),
        *,
        concurrent: bool = False,
        confirm: bool = False,
        layers: Sequence[Layer] = (),
        context: object = None,
    ) -> None:
        check_callable(what, handler)
        check_is_bound(what, handler)
        self._typed = typed = TypedHandler(what, handler, kind, path_names)
        self._kind = kind
        self._context = kind.context if context is None else context
        self._layers: tuple[Layer, ...] = ()
        self.fits: Callable[[Mapping[str, str]], bool] = typed.fits
        self.explain: Callable[[Mapping[str, str]], str] = typed.explain
        self.is_selective: bool = typed.is_selective
        self.concurrent: bool = concurrent
        self.confirm: bool = confirm
        self.handler: Handler = handler
        for middleware in middlewares:
            check_middleware(what, middleware)
            check_context(what, middleware, kind.context)
        self.middlewares: tuple[Middleware[C], ...] = tuple(middlewares)
        self.call: Callable[[C], Coroutine[Any, Any, Any]]
        # `call` in two steps, if that saves a coroutine around the handler's own: the result of
        # `begin`, if it is not None, is for `finish`.
        self.begin: Callable[[C], Awaitable[Any]]
        self.finish: Finish[C] | None
        self.may_wait: bool
        self.surround(layers)

    def surround(self, layers: Sequence[Layer]) -> None:
        """Make it part of more groups, around those that it is part of."""
        self._layers = (*layers, *self._layers)
        for layer in layers:
            layer.watch(self)
        self.compose()

    def compose(self) -> None:
        """Put the middleware around the handler."""
        outer = [each for layer in self._layers for each in layer.around(self._context)]
        chain = [*outer, *self.middlewares]
        self.call = self._typed
        for middleware in reversed(chain):
            self.call = _around(middleware, self.call)
        is_bare = self._typed.is_plain and not chain and self._typed.response.shape is None
        self.begin = self.handler if is_bare else self.call
        self.finish = self._typed.finish if is_bare else None
        self.may_wait = not is_bare or may_wait(self.handler)


def _around(
    middleware: Middleware[C], inner: Callable[[C], Coroutine[Any, Any, Any]]
) -> Callable[[C], Coroutine[Any, Any, Any]]:
    async def call(ctx: C) -> object:
        following = NextStep(inner, ctx, middleware)
        returned = await middleware(ctx, following)
        begun = following.begun
        if begun is not None and getcoroutinestate(begun) == CORO_CREATED:
            begun.close()  # or Python warns that it was never awaited
            raise UsageError(
                f"{name_of(middleware)} has called `next()` without `await`, so the handler did not"
                " run; write `await next()`."
            )
        if isinstance(returned, PondError) and not following.is_called:
            raise returned  # as a handler may return one; else the client would get no answer
        return returned

    return call


class NextStep(Generic[C]):
    """The `next` of one call of middleware: it calls what is inside, once.

    Attributes:
        begun: The coroutine that it has returned; None before that, or if it returned none.
        is_called: Whether it was called.
    """

    __slots__ = ("_context", "_inner", "_middleware", "begun", "is_called")

    def __init__(self, inner: Callable[[C], Any], context: C, middleware: object) -> None:
        self._inner = inner
        self._context = context
        self._middleware = middleware
        self.is_called: bool = False
        self.begun: Coroutine[Any, Any, Any] | None = None

    def __call__(self) -> Any:
        """Call what is inside.

        Raises:
            UsageError: This is the second call.
        """
        if self.is_called:
            raise UsageError(
                f"{name_of(self._middleware)} has called `next()` twice; the handler runs once, so"
                " keep what the first call returned."
            )
        self.is_called = True
        result = self._inner(self._context)
        if type(result) is CoroutineType:
            self.begun = result
        return result


def find(
    table: PatternMap[Registration[C]], name: str, params: Mapping[str, str] | None = None
) -> tuple[Registration[C], Route] | None:
    """Return the first registration whose pattern matches and whose types fit.

    Args:
        params: The parameters of an outer pattern, which a handler may ask for as well.
    """
    found = table.match(name)
    if found is None or not found[0].is_selective:
        return found
    for registration, route in table.matches(name):
        known = {**params, **route.params} if params else route.params
        if registration.fits(known):
            return registration, route
    return None


def explain(
    table: PatternMap[Registration[C]], name: str, params: Mapping[str, str] | None = None
) -> str:
    """Return what a client should know where `find` has found nothing; mostly nothing."""
    sentences = (
        registration.explain({**(params or {}), **route.params})
        for registration, route in table.matches(name)
    )
    return next(filter(None, sentences), "")


def check_middleware(what: str, middleware: object) -> None:
    """Refuse what is no middleware.

    Raises:
        UsageError: The message says what to write.
    """
    check_callable(f"{what}, middleware", middleware, arguments=2)
    if not is_async(middleware):
        raise UsageError(f"{what}: write `async def {name_of(middleware)}(ctx, next)`.")


def check_is_bound(what: str, function: object) -> None:
    """Refuse a method that has no instance: of a class, or decorated inside of its class.

    Raises:
        UsageError: The message says what to write.
    """
    if not isinstance(function, FunctionType):
        return
    inside, _, name = function.__qualname__.rpartition(".")
    first = next(iter(inspect.signature(function).parameters), None)
    if inside and not inside.endswith("<locals>") and first == "self":
        of = inside.rpartition(".")[2]
        raise UsageError(
            f"{what}: {name} is a method of {of} and has no instance here: write"
            f" `@on_message(…)` of pondsocket inside the class, and `include({of}(…))`; or register"
            f" `{of}(…).{name}`."
        )


def check_callable(what: str, function: object, *, arguments: int | None = None) -> None:
    """Refuse what is not callable, or not with this many positional arguments.

    Raises:
        UsageError: The message says what to write.
    """
    wanted = "(ctx, next)" if arguments == 2 else "(ctx)"
    if not callable(function):
        raise UsageError(f"{what}: a function {wanted} is needed, not {function!r}.")
    if arguments is None:
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin or an extension that hides its signature; the call will show it
    try:
        signature.bind(*range(arguments))
    except TypeError:
        role = "middleware" if arguments == 2 else "a handler"
        raise UsageError(
            f"{what}: {role} is called with {wanted}, but {name_of(function)} takes {signature}."
        ) from None
    for name, parameter in signature.parameters.items():
        if is_mark(parameter.default):
            raise UsageError(
                f"{what}: {name_of(function)} is called with {wanted} alone, and '{name}' would be"
                " the mark itself; ask for the value in a handler or a dependency."
            )
