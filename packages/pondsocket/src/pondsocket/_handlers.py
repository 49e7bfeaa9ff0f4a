"""Handlers and middleware, checked and composed at registration, never per message."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from ._errors import UsageError

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

Handler: TypeAlias = Callable[[C], Awaitable[Any]]
"""`async def handler(ctx)`."""

Next: TypeAlias = Callable[[], Awaitable[Any]]
"""What middleware calls to go on."""


class Middleware(Protocol[C_contra]):
    """`async def middleware(ctx, next)`: calling `next()` goes on, not calling it stops."""

    def __call__(self, ctx: C_contra, next: Next, /) -> Awaitable[Any]:  # noqa: A002
        """Handle, or hand on."""
        ...


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine; also of an object with an `async def __call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind is asked, not its presence
    )


def compose(
    what: str, handler: Handler[C], middlewares: Sequence[Middleware[C]] = ()
) -> Handler[C]:
    """One handler out of a handler and its middleware, the first one outermost.

    Args:
        what: What is being registered, for the error's sentence.

    Raises:
        UsageError: One of them has the wrong form.
    """
    check_callable(what, handler, arguments=1)
    if not is_async(handler):
        raise UsageError(
            f"{what}: write `async def {_name(handler)}(ctx)`; it is a plain function."
        )
    composed = handler
    for middleware in reversed(middlewares):
        check_callable(f"{what}, middleware", middleware, arguments=2)
        if not is_async(middleware):
            raise UsageError(f"{what}: write `async def {_name(middleware)}(ctx, next)`.")
        composed = _around(middleware, composed)
    return composed


def _around(middleware: Middleware[C], inner: Handler[C]) -> Handler[C]:
    async def handler(ctx: C) -> object:
        return await middleware(ctx, lambda: inner(ctx))

    return handler


def check_callable(what: str, function: object, *, arguments: int) -> None:
    """Refuse what cannot be called with this many positional arguments.

    Raises:
        UsageError: With what to write.
    """
    wanted = "(ctx)" if arguments == 1 else "(ctx, next)"
    if not callable(function):
        raise UsageError(f"{what}: a function {wanted} is needed, not {function!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin or an extension that hides its signature; it will show when called
    try:
        signature.bind(*range(arguments))
    except TypeError:
        role = "a handler" if arguments == 1 else "middleware"
        raise UsageError(
            f"{what}: {role} is called with {wanted}, but {_name(function)} takes {signature}."
        ) from None


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
