"""Inspects functions: how they are called, and the types of their parameters."""

import collections.abc
import dis
import inspect
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from types import FunctionType, MethodType, UnionType
from typing import Annotated, Any, Final, ForwardRef, Union, get_args, get_origin, get_type_hints

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
    """Return whether a call gives a coroutine; also for an object with `async def __call__`."""
    return _is(inspect.iscoroutinefunction, function)


def may_wait(function: object) -> bool:
    """Return whether a coroutine function may wait. False if it certainly never does."""
    function = _without_arguments(function)
    if not isinstance(function, FunctionType):
        return True
    code = function.__code__
    # A coroutine waits only by a yield in its own code. The code of a plain function that returns
    # an awaitable does not tell.
    is_coroutine = bool(code.co_flags & inspect.CO_COROUTINE)
    return not is_coroutine or any(
        step.opname.startswith("YIELD") for step in dis.get_instructions(code)
    )


def _without_arguments(function: Any) -> Any:
    """Return the function inside `partial` objects and bound methods."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    return function


def name_of(function: object) -> str:
    """Return a function's name, for error messages."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _is(test: Callable[[Any], bool], function: object) -> bool:
    while isinstance(function, partial | staticmethod):
        function = function.func if isinstance(function, partial) else function.__func__
    if inspect.isclass(function):
        return False  # a call makes an object, whatever that can do
    return test(function) or test(
        getattr(function, "__call__", None)  # noqa: B004 - its kind is tested, not its presence
    )


def form_of(function: object) -> Form:
    """Return how a function is called.

    What is PLAIN may still return a coroutine: a lambda, or a plain wrapper around an `async def`.
    Only a call can tell: other wrappers run it to its end themselves.
    """
    if _is(inspect.iscoroutinefunction, function):
        return Form.ASYNC
    if _is(inspect.isasyncgenfunction, function):
        return Form.ASYNC_GENERATOR
    return Form.GENERATOR if _is(inspect.isgeneratorfunction, function) else Form.PLAIN


def hints_of(function: object, signature: inspect.Signature) -> dict[str, Any]:
    """Return the types of a function's parameters, and as "return" that of its result.

    Strings in them are resolved.

    Raises:
        NameError: A string contains an unknown name.
    """
    source = _annotated(function)
    try:
        resolved = get_type_hints(source, include_extras=True)
    except TypeError:
        resolved = {}  # an extension that has no annotations
    written = getattr(source, "__annotations__", {})
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    # The signature of a class shows what its `__init__` returns.
    is_class = inspect.isclass(_without_arguments(function))
    annotations["return"] = signature.empty if is_class else signature.return_annotation
    hints: dict[str, Any] = {}
    for name, hint in annotations.items():
        # A decorator may show another signature than that of the function that it wraps.
        if name in resolved and (isinstance(hint, ForwardRef) or written.get(name) == hint):
            hint = resolved[name]
        hints[name] = hint
    return hints


def _annotated(function: Any) -> Any:
    """Return the object that has the annotations of a function's parameters."""
    function = inspect.unwrap(_without_arguments(function))
    if inspect.isclass(function):
        if function.__init__ is not object.__init__:
            return function.__init__
        return function if hasattr(function, "_field_defaults") else function.__new__
    return function if inspect.isroutine(function) else _annotated(type(function).__call__)


def bound_arguments_of(function: object) -> dict[str, object]:
    """Return the arguments that a `partial` has set by name."""
    arguments: dict[str, object] = {}
    while isinstance(function, partial):
        arguments = {**function.keywords, **arguments}
        function = function.func
    return arguments


def is_callable_type(hint: object) -> bool:
    """Return whether it is the type of functions, which pydantic takes and JSON does not have."""
    return hint is Callable or get_origin(hint) is collections.abc.Callable


def is_list_type(hint: object) -> bool:
    """Return whether the values of a repeated name in a query form one value of this type."""
    return any((get_origin(option) or option) in _LISTS for option in options_of(hint))


def peel(hint: Any) -> tuple[Any, list[Any]]:
    """Return the type inside aliases and `Annotated`, and the marks around it."""
    marks: list[Any] = []
    while True:
        if is_alias(hint):
            hint = hint.__value__
        elif get_origin(hint) is Annotated:
            marks = [*hint.__metadata__, *marks]
            hint = hint.__origin__
        else:
            return hint, marks


def options_of(hint: Any) -> Iterator[Any]:
    """Yield the types of a union, or any other type itself."""
    bare, _ = peel(hint)
    if get_origin(bare) in (Union, UnionType):
        for each in get_args(bare):
            yield from options_of(each)
    else:
        yield bare


def is_alias(hint: object) -> bool:
    """Return whether it is an alias made by a `type` statement."""
    # By name: `typing` and `typing_extensions` each have their own class.
    return type(hint).__name__ == "TypeAliasType"
