"""What functions say of themselves: how they are called, and with what types."""

import collections.abc
import dis
import inspect
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from types import FunctionType, MethodType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

_LISTS: Final = (
    list,
    set,
    tuple,
    frozenset,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.MutableSequence,
    collections.abc.Sequence,
    collections.abc.Set,
)


class Form(Enum):
    """How a function is called."""

    PLAIN = auto()
    ASYNC = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()

    @property
    def in_loop(self) -> bool:
        """Whether it runs in the event loop; the others run in worker threads."""
        return self in (Form.ASYNC, Form.ASYNC_GENERATOR)


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine; also of an object with an `async def __call__`."""
    return _is(inspect.iscoroutinefunction, function)


def may_wait(function: object) -> bool:
    """Whether a coroutine function could wait for anything; False: certainly not."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    if not isinstance(function, FunctionType):
        return True
    code = function.__code__
    # Whatever a coroutine waits for, it hands to the event loop by a yield of its own code; of a
    # mere function that gives an awaitable, the code says nothing.
    is_coroutine = bool(code.co_flags & inspect.CO_COROUTINE)
    return not is_coroutine or any(
        step.opname.startswith("YIELD") for step in dis.get_instructions(code)
    )


def name_of(function: object) -> str:
    """A function's name, for sentences."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _is(test: Callable[[Any], bool], function: object) -> bool:
    while isinstance(function, partial):
        function = function.func
    if inspect.isclass(function):
        return False  # calling it makes an object, whatever that can do
    return test(function) or test(
        getattr(function, "__call__", None)  # noqa: B004 - its kind is asked, not its presence
    )


def form_of(function: object) -> Form:
    """How it is called."""
    if _is(inspect.iscoroutinefunction, function):
        return Form.ASYNC
    if _is(inspect.isasyncgenfunction, function):
        return Form.ASYNC_GENERATOR
    return Form.GENERATOR if _is(inspect.isgeneratorfunction, function) else Form.PLAIN


def hints_of(function: Any) -> dict[str, Any]:
    """Types by parameter; those that are no strings in the signature need not be among them."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    function = inspect.unwrap(function)
    if inspect.isclass(function):
        function = function.__init__
    elif not inspect.isroutine(function):
        return hints_of(type(function).__call__)
    return get_type_hints(function, include_extras=True)


def bound_names_of(function: object) -> set[str]:
    """The parameters that a `partial` has filled by name."""
    names: set[str] = set()
    while isinstance(function, partial):
        names.update(function.keywords)
        function = function.func
    return names


def is_callable_type(hint: object) -> bool:
    """Whether it is the type of functions, which pydantic takes and JSON cannot say."""
    return hint is Callable or get_origin(hint) is collections.abc.Callable


def is_list_type(hint: object) -> bool:
    """Whether a repeated name of a query is one value of it."""
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return is_list_type(get_args(hint)[0])
    if origin in (Union, UnionType):
        return any(map(is_list_type, get_args(hint)))
    return origin in _LISTS
