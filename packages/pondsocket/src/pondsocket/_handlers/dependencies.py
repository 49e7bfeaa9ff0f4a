"""Dependencies of handlers, as in FastAPI."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from pondsocket._errors import UsageError

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
