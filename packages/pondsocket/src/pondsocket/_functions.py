"""What functions say of themselves: how they are called, and with what types."""

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


def hints_of(function: object, signature: inspect.Signature) -> dict[str, Any]:
    """The types of a function's parameters, strings resolved.

    Raises:
        NameError: A string names what is not there.
    """
    source = _annotated(function)
    try:
        resolved = get_type_hints(source, include_extras=True)
    except TypeError:
        resolved = {}  # an extension that keeps no annotations
    written = getattr(source, "__annotations__", {})
    hints: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        hint = parameter.annotation
        # A decorator may show another signature than the function that it wraps has.
        if name in resolved and (isinstance(hint, ForwardRef) or written.get(name) == hint):
            hint = resolved[name]
        hints[name] = hint
    return hints


def _annotated(function: Any) -> Any:
    """What has the annotations of a function's parameters."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    function = inspect.unwrap(function)
    if inspect.isclass(function):
        if function.__init__ is not object.__init__:
            return function.__init__
        return function if hasattr(function, "_field_defaults") else function.__new__
    return function if inspect.isroutine(function) else _annotated(type(function).__call__)


def bound_arguments_of(function: object) -> dict[str, object]:
    """What a `partial` has filled by name."""
    arguments: dict[str, object] = {}
    while isinstance(function, partial):
        arguments = {**function.keywords, **arguments}
        function = function.func
    return arguments


def is_callable_type(hint: object) -> bool:
    """Whether it is the type of functions, which pydantic takes and JSON cannot say."""
    return hint is Callable or get_origin(hint) is collections.abc.Callable


def is_list_type(hint: object) -> bool:
    """Whether a repeated name of a query is one value of it."""
    return any((get_origin(option) or option) in _LISTS for option in options_of(hint))


def peel(hint: Any) -> tuple[Any, list[Any]]:
    """The type inside of aliases and `Annotated`, and the marks around it."""
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
    """The types of a union; of another type, itself."""
    bare, _ = peel(hint)
    if get_origin(bare) in (Union, UnionType):
        for each in get_args(bare):
            yield from options_of(each)
    else:
        yield bare


def is_alias(hint: object) -> bool:
    """Whether it is a name made by `type`."""
    # By name: `typing` and `typing_extensions` have a class of their own each.
    return type(hint).__name__ == "TypeAliasType"
