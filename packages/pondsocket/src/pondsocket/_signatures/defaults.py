"""Tells defaults that are values from defaults that a framework would replace."""

import re
from collections import deque
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from inspect import Parameter, isabstract, isclass, isroutine
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final, get_origin
from uuid import UUID

from pydantic import ConfigDict, PydanticUserError, ValidationError, create_model

from pondsocket._runtime.functions import is_callable_type, options_of

EMPTY: Final = Parameter.empty
UNTYPED: Final = (EMPTY, Any, object)

_PLAIN: Final = (
    *(type(None), int, float, complex, bytes, bytearray, Decimal, Fraction, UUID, PurePath),
    *(date, time, timedelta, tzinfo, Enum, re.Pattern, MappingProxyType),
)
# A mark may be of a class that inherits from one of these; a value seldom is.
_PLAIN_ITSELF: Final = (str, list, tuple, set, frozenset, dict, deque)
_OF_PYTHON: Final = {"builtins", "collections"}
LEFT_TO_THE_CLASS: Final = object()
# What the signature of a class shows for a default that the class itself makes.
_FACTORIES: Final = {
    ("attr._make", "_Nothing"),
    ("dataclasses", "_HAS_DEFAULT_FACTORY_CLASS"),
    ("pydantic._internal._signature", "_HAS_DEFAULT_FACTORY_CLASS"),
}


def is_left_to_the_class(default: object) -> bool:
    """Return whether a default stands for a value that the class itself makes."""
    kind = type(default)
    return default is LEFT_TO_THE_CLASS or (kind.__module__, kind.__name__) in _FACTORIES


def is_value(hint: Any, default: object) -> bool:
    """Return whether a default is plain, or of a class that the type names."""
    if isinstance(default, _PLAIN):
        return True
    if isinstance(default, _PLAIN_ITSELF) and type(default).__module__ in _OF_PYTHON:
        return True
    for option in options_of(hint):
        kind = get_origin(option) or option
        if isclass(default) or isroutine(default):
            if kind is type or is_callable_type(option):
                return True
        elif kind not in (object, *_PLAIN_ITSELF) and kind in type(default).__mro__:
            return True
    return False


def fits(hint: Any, default: object) -> bool:
    """Return whether a default has its parameter's type.

    Constraints and validators are for what a client sends: a default need not meet them.
    """
    return hint in UNTYPED or any(_fits(option, default) for option in options_of(hint))


def _fits(hint: Any, default: object) -> bool:
    kind = get_origin(hint) or hint
    if hint in type(default).__mro__ or (isabstract(kind) and isinstance(default, kind)):
        return True
    try:
        config = ConfigDict(arbitrary_types_allowed=True)
        model = create_model("Default", __config__=config, value=(hint, ...))
        model.model_validate({"value": default}, strict=True)
    except ValidationError:
        return False
    except (PydanticUserError, TypeError):
        return True  # pydantic cannot read the type, so no client sets it
    return True
