"""Reads one parameter of a signature: its type, its marks and its default."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ForwardRef

from pydantic.fields import FieldInfo

from pondsocket._runtime.functions import peel

from .defaults import EMPTY, fits, is_left_to_the_class, is_value
from .dependencies import Dependency, dependency_of
from .marks import (
    Fail,
    alias_of,
    check_mark,
    check_within,
    holds_mark,
    is_documentation,
    refuse,
    type_name,
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a signature says about one parameter.

    Args:
        hint: Its type, with the marks that pydantic reads.
        dependency: The dependency that gives its value.
        alias: The name that the client uses, if it is another one.
        make_default: Makes the default of a parameter with `Field(…)`.
        is_required: Whether the call must pass it; False: Python has a default.
    """

    hint: Any
    dependency: Dependency | None = None
    alias: str | None = None
    make_default: Callable[[], Any] | None = None
    is_required: bool = True


def declaration_of(name: str, hint: Any, default: Any, fail: Fail) -> Declaration:
    """Read one parameter. Call `fail` with a sentence, which it raises, if that is impossible."""
    bare, marks = peel(hint)
    if isinstance(bare, str | ForwardRef):
        fail(f"the type of '{name}' is a string that cannot be read; write it without quotes")
    dependencies: list[Dependency] = []
    for mark in marks:
        dependency = dependency_of(mark, bare)
        if dependency is None:
            check_mark(name, bare, mark, fail)
        else:
            dependencies.append(dependency)
    of_default = dependency_of(default, bare)
    if dependencies or of_default is not None:
        if len(dependencies) + (default is not EMPTY) > 1:
            fail(f"'{name}' has `Depends(…)` and one more default; write one of them")
        return Declaration(bare, of_default or dependencies[0])
    if isinstance(default, FieldInfo):
        if type(default) is not FieldInfo:
            refuse(f"'{name}' has the default", default, name, bare, fail)
        if bare is EMPTY:
            fail(f"'{name}' has no type; write `{name}: int = Field(…)`")
    else:
        _check_default(name, bare, default, fail)
    check_within(name, bare, fail)
    kept = [mark for mark in marks if not is_documentation(mark)]
    hint = Annotated[(bare, *kept)] if kept else bare
    if any(isinstance(each, FieldInfo) for each in (default, *kept)):
        return _declared_by_field(name, bare, hint, default, fail)
    return Declaration(hint, is_required=default is EMPTY)


def _declared_by_field(name: str, bare: Any, hint: Any, default: Any, fail: Fail) -> Declaration:
    if default is EMPTY:
        field = FieldInfo.from_annotation(hint)
    else:
        field = FieldInfo.from_annotated_attribute(hint, default)
    alias = alias_of(field)
    if not isinstance(alias, str | None):
        fail(f"'{name}' has {type(alias).__name__}(…) as its alias; write one name")
    if getattr(field, "default_factory_takes_validated_data", False):
        fail(f"the `default_factory` of '{name}' takes a parameter; write one that takes none")
    make_default = None
    if not field.is_required():
        if field.default_factory is None:
            _check_default(name, bare, field.default, fail)
        make_default = partial(field.get_default, call_default_factory=True)
    hint = field.rebuild_annotation()
    if field.discriminator is not None:
        hint = Annotated[hint, FieldInfo(discriminator=field.discriminator)]
    return Declaration(hint, alias=alias, make_default=make_default)


def _check_default(name: str, hint: Any, default: Any, fail: Fail) -> None:
    """Refuse a default that is not a plain value of the parameter's type."""
    if default is EMPTY or is_left_to_the_class(default):
        return
    if default is ...:
        fail(f"'{name}' has `...` as its default; without a default the client must send it")
    if not is_value(hint, default) or holds_mark(default):
        refuse(f"'{name}' has the default", default, name, hint, fail)
    if fits(hint, default):
        return
    wanted = type_name(hint)
    remedy = f"a default of the type, or `{name}: {type(default).__name__}`"
    if default is None:
        remedy = f"`{name}: {wanted} | None = None`"
    fail(f"'{name}: {wanted} = {repr(default)[:60]}' does not fit its own type; write {remedy}")
