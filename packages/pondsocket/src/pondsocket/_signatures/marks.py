"""What `Annotated` may contain: our marks, pydantic's, and documentation.

A parameter without another source is read from the client's message. With a mark that is not
understood, the client could send a value that the application meant to give. So unknown marks are
refused.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NoReturn,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo, ModelPrivateAttr

from pondsocket._runtime.functions import is_alias, name_of, options_of
from pondsocket._state.canonical import Canonical

from .defaults import EMPTY, fits, is_value
from .dependencies import Dependency, Depends

Fail: TypeAlias = Callable[[str], NoReturn]
"""Raises a UsageError with the given sentence."""

_READ_BY_PYDANTIC: Final = ("__get_pydantic_core_schema__", "__get_pydantic_json_schema__")
_GROUPED: Final = "__is_annotated_types_grouped_metadata__"  # several marks in one
_OF_FIELDS: Final = ("_field_defaults", "__required_keys__")  # a NamedTuple, a TypedDict
_PYDANTIC: Final = {"annotated_types", "pydantic", "pydantic_core"}
# Of pydantic, and read by it, but not beside a type.
_NO_MARKS: Final = (BaseModel, ModelPrivateAttr, TypeAdapter)
_DOCUMENTATION: Final = {
    (package, name)
    for package in ("_py_warnings", "annotated_doc", "typing", "typing_extensions", "warnings")
    for name in ("Doc", "deprecated")
}
# Packages whose marks and types only another framework can fill.
_FRAMEWORKS: Final = {
    *("blacksheep", "dependency_injector", "dishka", "esmerald", "fast_depends", "fastapi"),
    *("faststream", "injector", "lilya", "litestar", "ninja", "ravyn", "starlette", "taskiq"),
    *("taskiq_dependencies", "that_depends", "wireup"),
}
_INJECTORS: Final = {"Dependency", "Depends", "Inject", "Provide", "Security"}

_BODY: Final = "write `payload: {type}` for the whole payload, or `{name}: {type}` for one field"
_ADVICE: Final = {
    "Header": "the connection handler reads headers: `ctx.headers[…]`",
    "Cookie": "the connection handler reads cookies: `ctx.cookies[…]`",
    "Query": "the connection handler reads the query: write `{name}: {type}` there",
    "Path": "write `{name}: {type}`, with the name that stands in the pattern",
    "Body": _BODY,
    "Form": _BODY,
    "File": _BODY,
}
_REQUEST: Final = (
    "`ctx: ConnectionContext` of the connection handler has `headers`, `cookies` and `query`"
)
_ADVICE_ON_TYPES: Final = {
    "BackgroundTask": "start it in a task group of your own",
    "BackgroundTasks": "start them in a task group of your own",
    "HTTPConnection": _REQUEST,
    "Request": _REQUEST,
    "Response": "return the reply, or raise PondError",
    "SecurityScopes": "check the scopes in a function, and write `= Depends(function)`",
    "WebSocket": "write `ctx: EventContext`, which replies and broadcasts",
}


def is_documentation(mark: object) -> bool:
    """Return whether a mark is for readers only."""
    # pydantic's own `conint()` leaves None in the place of limits that were not given.
    kind = type(mark)
    return kind is str or mark is None or (_root(kind), kind.__name__) in _DOCUMENTATION


def alias_of(field: FieldInfo) -> object:
    """Return the name that clients use for the field, if it is another one."""
    return field.alias if field.validation_alias is None else field.validation_alias


def is_mark(value: object) -> bool:
    """Return whether it is certainly a mark, which no application uses as a value."""
    if isinstance(value, Dependency | FieldInfo):
        return True
    return any(
        _root(each) in _FRAMEWORKS and each.__name__ in _INJECTORS for each in type(value).__mro__
    )


def is_connection_class(hint: object) -> bool:
    """Return whether it is Starlette's `HTTPConnection`, which is made of the ASGI scope alone.

    FastAPI's security classes ask for one. A `Request` or `WebSocket` could also receive and send.
    """
    if not inspect.isclass(hint):
        return False
    return (hint.__module__, hint.__name__) == ("starlette.requests", "HTTPConnection")


def holds_mark(value: object) -> bool:
    """Return whether it is certainly a mark, or a list or dict that holds one."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_mark, value))
    return is_mark(value)


def check_mark(name: str, hint: Any, mark: object, fail: Fail) -> None:
    """Refuse a mark that is not understood."""
    if not (is_documentation(mark) or _is_pydantics(mark) or isinstance(mark, Canonical)):
        refuse(f"'{name}' is marked with", mark, name, hint, fail)


def check_within(name: str, hint: Any, fail: Fail) -> None:
    """Refuse marks that are not understood, inside a type and in the models that it names."""
    for option in options_of(hint):
        kind = get_origin(option) or option
        if inspect.isclass(kind) and _root(kind) in _FRAMEWORKS:
            advice = _ADVICE_ON_TYPES.get(kind.__name__, "write `= Depends(function)`")
            fail(f"'{name}: {kind.__name__}' is filled by {_root(kind)} alone; {advice}")
    for place, mark in _marks_within(hint, "", {}):
        if place:
            advice = _advice(mark, place.rpartition(".")[2], EMPTY)
            fail(
                f"'{name}' has the field {place} with {_described(mark)}, and the client would"
                f" fill it; instead of the field, {advice}"
            )
        outside = f"around the whole type: `{name}: Annotated[…, {{}}]`"
        if isinstance(mark, Dependency):
            depends = f"Depends({name_of(mark.function)})"
            fail(f"'{name}' has `{depends}` inside of its type; write it {outside.format(depends)}")
        if isinstance(mark, Canonical):
            what = "`Canonical(…)` inside of its type, where it does nothing"
            fail(f"'{name}' has {what}; write it {outside.format('Canonical(…)')}")
        if isinstance(mark, FieldInfo) and (alias_of(mark) or not mark.is_required()):
            what = "a `Field` with an alias or a default inside of its type"
            fail(f"'{name}' has {what}; write it {outside.format('Field(…)')}")
        check_mark(name, hint, mark, fail)


def refuse(what: str, mark: object, name: str, hint: Any, fail: Fail) -> NoReturn:
    """Fail with what was found, and what to write in its place."""
    fail(f"{what} {_described(mark)}, which pondsocket does not read; {_advice(mark, name, hint)}")


# --- what a mark is ---------------------------------------------------------------------------


def _root(kind: object) -> str:
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _is_injected(mark: object) -> bool:
    """Return whether a framework would put a value in its place, judged by names."""
    if isinstance(mark, FieldInfo):
        return _root(type(mark)) in _FRAMEWORKS
    kinds = (mark,) if inspect.isclass(mark) or inspect.isroutine(mark) else type(mark).__mro__
    return any(_root(each) in _FRAMEWORKS or each.__name__ in _INJECTORS for each in kinds)


def _is_pydantics(mark: Any) -> bool:
    if isinstance(mark, FieldInfo):
        return type(mark) is FieldInfo  # a subclass means more than pydantic reads
    if _is_injected(mark) or isinstance(mark, _NO_MARKS):
        return False
    is_read = any(hasattr(mark, name) for name in _READ_BY_PYDANTIC)
    if inspect.isclass(mark):
        return is_read and not issubclass(mark, _NO_MARKS)
    if is_read or _root(type(mark)) in _PYDANTIC:
        return True
    return hasattr(mark, _GROUPED) and all(map(_is_pydantics, mark))


# --- models -----------------------------------------------------------------------------------


def _marks_within(
    hint: Any, place: str, seen: dict[tuple[int, bool], Any]
) -> Iterator[tuple[str, object]]:
    """Yield the marks inside a type; for a model, only those that ask for a value.

    Args:
        place: The model's field that has the type, as "Say.user"; empty: a signature has it.
    """
    key = (id(hint), bool(place))
    if key in seen:
        return
    seen[key] = hint  # kept alive, or another type could get its id
    kind = get_origin(hint) or hint
    for inner in _stands_for(kind):
        yield from _marks_within(inner, place, seen)
    if kind is Annotated:
        yield from ((place, each) for each in hint.__metadata__ if not place or _is_injected(each))
        yield from _marks_within(hint.__origin__, place, seen)
    elif kind is not Literal:
        for each in get_args(hint):
            yield from _marks_within(each, place, seen)
    if inspect.isclass(kind):
        for name, inner, default, marks in _fields_of(kind):
            field = f"{kind.__name__}.{name}"
            yield from ((field, each) for each in marks if _is_injected(each))
            if not is_value(inner, default) and (_is_injected(default) or not fits(inner, default)):
                yield field, default
            yield from _marks_within(inner, field, seen)


def _stands_for(kind: Any) -> Iterator[Any]:
    """Yield the types that pydantic reads in the place of an alias, a NewType or a TypeVar."""
    if is_alias(kind):
        yield kind.__value__
    if isinstance(kind, NewType):
        yield kind.__supertype__
    if isinstance(kind, TypeVar):
        yield from kind.__constraints__
        default = getattr(kind, "__default__", None)
        yield from (each for each in (kind.__bound__, default) if each is not None)


def _fields_of(kind: Any) -> Iterator[tuple[str, Any, object, list[object]]]:
    """Yield the fields of a model of any kind: name, type, default and marks."""
    is_model = issubclass(kind, BaseModel)
    if is_model and not kind.__pydantic_complete__:
        kind.model_rebuild(raise_errors=False, _types_namespace={})
    fields = kind.model_fields if is_model else getattr(kind, "__pydantic_fields__", None)
    if isinstance(fields, dict):
        for name, field in fields.items():
            default = None if field.is_required() or field.default_factory else field.default
            yield name, field.annotation, default, [field, *field.metadata]
    elif dataclasses.is_dataclass(kind) or any(hasattr(kind, each) for each in _OF_FIELDS):
        defaults = dict(getattr(kind, "_field_defaults", {}))
        if dataclasses.is_dataclass(kind):
            defaults = {each.name: each.default for each in dataclasses.fields(kind)}
        try:
            hints = get_type_hints(kind, include_extras=True)
        except (NameError, TypeError):  # pydantic says so when it reads the type
            hints = {}
        for name, hint in hints.items():
            default = defaults.get(name)
            yield name, hint, None if default is dataclasses.MISSING else default, []


# --- sentences --------------------------------------------------------------------------------


def type_name(hint: Any) -> str:
    """Return a type as it is written; "…" if that is long."""
    if hint is EMPTY:
        return "…"
    if inspect.isclass(hint) and not get_args(hint):
        return hint.__name__
    written = str(hint).replace("typing.", "")
    return written if len(written) < 40 else "…"


def _described(mark: object) -> str:
    if isinstance(mark, Dependency):
        return f"`Depends({name_of(mark.function)})`"
    if inspect.iscoroutine(mark):
        return f"a coroutine of {mark.__name__}, made once at import"
    if inspect.isgenerator(mark):
        return f"a generator of {mark.__name__}, made once at import"
    if inspect.isclass(mark):
        return f"the class {mark.__name__}"
    if inspect.isroutine(mark):
        return f"the function {name_of(mark)}"
    kind = type(mark)
    if kind.__module__ == "builtins":
        return repr(mark)[:60]
    return f"`{kind.__name__}(…)` of {_root(kind)}"


def _advice(mark: Any, name: str, hint: Any) -> str:
    if inspect.isclass(mark) and _root(mark) in _PYDANTIC:
        return f"call it: `{mark.__name__}(…)`"
    kind = type(mark).__name__
    if kind in _ADVICE:
        return _ADVICE[kind].format(name=name, type=type_name(hint))
    typed = f"{name}: {type_name(hint)}"
    function = _function_of(mark, hint)
    if function is None:
        return (
            f"write `{typed} = Depends(function)` for what the server gives, or `{typed}` with a"
            " plain default for what the client sends"
        )
    written = name_of(function)
    if not (hasattr(function, "__name__") and written.isidentifier()) or written in _INJECTORS:
        written = "function"
    called = "call it: " if mark is Depends else ""
    advice = f"{called}write `{typed} = Depends({written})` with `from pondsocket import Depends`"
    if kind == "Security":
        advice += ", and check the scopes in the function"
    return advice


def _function_of(mark: Any, hint: Any) -> object:
    """Return the function that the mark depends on; None if it names none."""
    if isinstance(mark, Dependency):
        return mark.function
    if hasattr(mark, "dependency"):
        # FastAPI's `Depends()` calls the type.
        return hint if mark.dependency is None and inspect.isclass(hint) else mark.dependency
    is_function = inspect.isclass(mark) or inspect.isroutine(mark)
    return mark if is_function or inspect.iscoroutine(mark) or inspect.isgenerator(mark) else None
