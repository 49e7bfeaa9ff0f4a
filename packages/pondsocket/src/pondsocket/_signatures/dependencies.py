"""Dependencies of handlers, as in FastAPI."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from inspect import isabstract, isclass
from typing import Any, TypeVar, overload

from pondsocket._errors import UsageError

from .defaults import UNTYPED

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """The mark on a parameter whose value a function returns."""

    function: Callable[..., Any]
    use_cache: bool


@overload
def Depends(dependency: Callable[..., AsyncGenerator[T, None]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(dependency: Callable[..., AsyncIterator[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(
    dependency: Callable[..., Generator[T, None, None]], *, use_cache: bool = True
) -> T: ...
@overload
def Depends(dependency: Callable[..., Iterator[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(dependency: Callable[..., Awaitable[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(dependency: Callable[..., T], *, use_cache: bool = True) -> T: ...
def Depends(  # noqa: N802
    dependency: Callable[..., Any], *, use_cache: bool = True
) -> Any:
    """Mark a parameter, as its default, whose value a function returns.

    The dependency is called for every message. It has its own parameters, under the same rules as
    a handler's. A generator is resumed after the handler, to clean up, and gets the handler's
    exception. A dependency that several parameters ask for is called once for a message.

    Args:
        dependency: A plain or `async` function, or a generator of either kind.
        use_cache: False: call it for each parameter that asks for it.

    Raises:
        UsageError: The dependency cannot be called.
    """
    if not callable(dependency):
        raise UsageError(f"Depends(…) takes a function or a class, not {dependency!r}.")
    return Dependency(dependency, use_cache)


def dependency_of(mark: object, hint: Any) -> Dependency | None:
    """Return what the mark depends on, also of FastAPI's own `Depends`; None: it is another mark.

    Theirs is known by name, without an import. `Security` asks for scopes, and is not understood;
    neither is what later versions may add.
    """
    if isinstance(mark, Dependency):
        return mark
    kind = type(mark)
    if (kind.__module__, kind.__name__) != ("fastapi.params", "Depends"):
        return None
    function = getattr(mark, "dependency", None)
    if function is None and isclass(hint) and hint not in UNTYPED:
        # As FastAPI: the type is called.
        function = None if hint.__module__ == "builtins" or isabstract(hint) else hint
    if not callable(function) or getattr(mark, "max_concurrency", None) is not None:
        return None
    return Dependency(function, bool(getattr(mark, "use_cache", True)))
