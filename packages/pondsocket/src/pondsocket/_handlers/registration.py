"""Registration: checks and composes a handler and its middleware once, not for each message."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from pondsocket._errors import UsageError
from pondsocket._runtime.functions import is_async, may_wait, name_of
from pondsocket._state.patterns import PatternMap, Route

from .marks import is_mark
from .parameters import Kind
from .signatures import TypedHandler

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

Handler: TypeAlias = Callable[..., Any]
"""`async def handler(ctx, …)` or `def handler(ctx, …)`; see the page on typed handlers."""

Finish: TypeAlias = Callable[[C, object], Coroutine[Any, Any, None]]

Next: TypeAlias = Callable[[], Awaitable[Any]]
"""Middleware calls it to continue."""


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

    Raises:
        UsageError: One of them cannot work; the message says what to write.
    """

    __slots__ = (
        "begin",
        "call",
        "concurrent",
        "explain",
        "finish",
        "fits",
        "is_selective",
        "may_wait",
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
    ) -> None:
        check_callable(what, handler)
        typed = TypedHandler(what, handler, kind, path_names)
        self.fits = typed.fits
        self.explain = typed.explain
        self.is_selective = typed.is_selective
        self.concurrent = concurrent
        self.call: Callable[[C], Coroutine[Any, Any, Any]] = typed
        for middleware in reversed(middlewares):
            check_callable(f"{what}, middleware", middleware, arguments=2)
            if not is_async(middleware):
                raise UsageError(f"{what}: write `async def {name_of(middleware)}(ctx, next)`.")
            self.call = _around(middleware, self.call)
        # `call` in two steps, if that saves a coroutine around the handler's own: the result of
        # `begin`, if it is not None, is for `finish`.
        is_bare = typed.is_plain and not middlewares
        self.begin: Callable[[C], Awaitable[Any]] = handler if is_bare else self.call
        self.finish: Finish[C] | None = kind.finish if is_bare else None
        self.may_wait = not is_bare or may_wait(handler)


def _around(
    middleware: Middleware[C], inner: Callable[[C], Coroutine[Any, Any, Any]]
) -> Callable[[C], Coroutine[Any, Any, Any]]:
    async def call(ctx: C) -> object:
        return await middleware(ctx, lambda: inner(ctx))

    return call


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
