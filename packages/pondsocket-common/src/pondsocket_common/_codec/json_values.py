"""Encode values as JSON and decode them: the only file besides the codec that uses orjson.

What JSON has no form for is an error that says where it is; nothing is changed in silence. orjson
itself writes NaN and infinity as null. So a text that holds `null` is searched for them, and others
cost nothing.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeAlias

import orjson
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from pondsocket_common._errors import EncodingError, InvalidMessage

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is inside another: keys, names of fields and indexes."""

# A value that holds itself has no end; and a longer path would tell no more.
_MAX_LEVELS: Final = 16

_NEVER_FLOATS: Final = (str, int, type(None))

# What pydantic shows of the values that have not their type; it may be secret.
_VALUES: Final = re.compile(r"input_value=.*, (?=input_type=)| with value `.*`(?= - )")

NULL: Final = b"null"
"""What a JSON text holds if the value may have held NaN or infinity.

Search it with `rfind`: in CPython that takes half the time of `in`, and less of a longer text
(microbench.py, "encode a broadcast as text").
"""


def dump_json(value: object) -> bytes:
    """Encode as JSON what the application may send: JSON values, mappings, dataclasses, models.

    Raises:
        EncodingError: JSON has no form for the value, or it holds an integer outside 64 bits, NaN
            or infinity. The message says where.
    """
    error: TypeError
    try:
        text = orjson.dumps(value, default=json_form)
    except TypeError as failure:
        error = failure
    else:
        if text.rfind(NULL) >= 0:
            refuse_non_finite(value)
        return text
    # Not inside the `except`: the errors of orjson and of `json_form` say less than this one.
    raise encoding_error(value, error)


def dump_model(model: BaseModel) -> object:
    """Return a pydantic model as a JSON value, by the aliases of its fields.

    Raises:
        EncodingError: JSON has no form for a value in it, or one is NaN or infinity.
    """
    try:
        dumped: object = model.model_dump(mode="json", by_alias=True)
    except ValueError as exc:  # pydantic's own, or bytes that are no text
        raise _unwritable(type(model), exc, partial(model.model_dump, by_alias=True)) from exc
    try:
        if orjson.dumps(dumped).rfind(NULL) < 0:
            return dumped
    except TypeError:
        return dumped  # a lone surrogate, for instance: the message fails as well, and is told
    return _finite(dumped, partial(model.model_dump, by_alias=True))


def dump_typed(value: object, adapter: TypeAdapter[Any]) -> object:
    """Return a value, which the adapter has validated, as a JSON value: its declared fields alone.

    What other fields the object has, for instance as one of a subclass, is left out.

    Raises:
        EncodingError: JSON has no form for a value in it, one has not its declared type, or one is
            NaN or infinity.
    """
    dump = adapter.serializer.to_python
    try:
        # "error": or pydantic writes an object in the place of another with all that it has.
        dumped: object = dump(value, mode="json", by_alias=True, warnings="error")
    except ValueError as exc:
        said = _unwritable(type(value), exc, partial(dump, value, by_alias=True))
        raise said from said.__cause__
    try:
        if orjson.dumps(dumped).rfind(NULL) < 0:
            return dumped
    except TypeError:
        return dumped  # as in `dump_model`
    return _finite(dumped, partial(dump, value, by_alias=True))


def _finite(dumped: object, dump: Callable[[], object]) -> object:
    """Return `dumped`, which has a null, unless NaN or infinity was there."""
    refuse_non_finite(dumped)
    # pydantic makes None of such a number in a field whose type it does not know.
    try:
        given = dump()
    except PydanticSerializationError as exc:
        raise EncodingError(f"The payload cannot be written as JSON: {exc}") from exc
    if _may_hold_non_finite(given):
        for path in _non_finite(given):
            if _at(dumped, path) is None:
                raise _non_finite_error(path)
    return dumped


def _unwritable(kind: type[Any], error: ValueError, dump: Callable[..., object]) -> EncodingError:
    """Return the error that says where in a value the one is that pydantic cannot write."""
    path = _path_to_unwritable(dump)
    where = f" (at {_written((kind.__name__, *path))})" if path else ""
    text = _VALUES.sub("", str(error))
    said = EncodingError(f"{kind.__name__} cannot be written as JSON: {text}{where}")
    said.__cause__ = error if text == str(error) else None  # or the log would show the values
    return said


def _path_to_unwritable(dump: Callable[..., object]) -> Path:
    try:
        value = dump(warnings=False)
    except PydanticSerializationError:
        return ()  # of a serializer of the application, which the error names
    path: list[str | int] = []
    while len(path) < _MAX_LEVELS:
        found = next((each for each in _children(value) if not _is_writable(each[1])), None)
        if found is None:
            break
        path.append(found[0])
        value = found[1]
    return tuple(path)


def _is_writable(value: object) -> bool:
    try:
        to_jsonable_python(value)
    except ValueError:
        return False
    return True


def json_form(value: object) -> object:
    """Convert what `orjson.dumps` does not know to a JSON value.

    Raises:
        TypeError: JSON has no form for it.
    """
    if isinstance(value, BaseModel):
        return dump_model(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def refuse_non_finite(value: object) -> None:
    """Refuse a value that holds NaN or infinity, which orjson has written as null.

    Raises:
        EncodingError: It holds one; the message says where.
    """
    if _may_hold_non_finite(value):
        path = next(_non_finite(value), None)
        if path is not None:
            raise _non_finite_error(path)


def _may_hold_non_finite(value: object) -> bool:
    """Return whether `_non_finite` may find something. A client may have sent what is in it.

    The encoder of Python's own refuses such numbers, and is written in C: it takes 0.6 ms for the
    21,000 lists of a message of 64 KiB, where `_non_finite` takes 33 ms.
    """
    try:
        _encode_finite(value)
    except (TypeError, ValueError):
        return True
    return False


def _searched_form(value: object) -> object:
    """Return what of a value, for which Python's encoder has no form, may hold such a number."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return list(value)
    return dict(_children(value))


_encode_finite: Final = json.JSONEncoder(
    allow_nan=False, check_circular=False, ensure_ascii=False, default=_searched_form
).encode


def encoding_error(value: object, error: TypeError) -> EncodingError:
    """Return the error that says where in a value the one is that orjson has failed at."""
    path: list[str | int] = []
    while len(path) < _MAX_LEVELS and (found := _first_unfit(value)) is not None:
        name, value, error = found
        path.append(name)
    cause = error.__cause__
    where = f" (at {_written(path)})" if path else ""
    if isinstance(cause, EncodingError):  # of a model; it says more than that of orjson
        return EncodingError(f"{cause}{where}")
    said = EncodingError(f"The payload cannot be written as JSON: {error}{_key_of(value)}{where}.")
    # What code of the application has raised; not what `json_form` has.
    said.__cause__ = None if type(cause) is TypeError else cause
    return said


def _key_of(value: object) -> str:
    """Name the first key that is no text, if that is what is wrong."""
    for key in value if isinstance(value, Mapping) else ():
        if type(key) is not str and not isinstance(key, Enum):
            return f", not {type(key).__name__}: {key!r:.100}"
    return ""


def _first_unfit(value: object) -> tuple[str | int, object, TypeError] | None:
    """Return the first value inside another that cannot be encoded, and why."""
    for name, child in _children(value):
        try:
            orjson.dumps(child, default=json_form)
        except TypeError as error:
            return name, child, error
    return None


def _non_finite(value: object) -> Iterator[Path]:
    """Yield where a value holds NaN or infinity. Models are not searched: see `dump_model`."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        if not math.isfinite(value):
            yield ()
        return
    for name, child in _children(value):
        if not isinstance(child, _NEVER_FLOATS):
            for path in _non_finite(child):
                yield name, *path


def _children(value: Any) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name, getattr(value, field.name, None)


def _at(value: object, path: Path) -> object:
    found: Any = value
    try:
        for name in path:
            found = found[str(name) if isinstance(found, dict) else int(name)]
    except (LookupError, TypeError, ValueError):
        return value  # a serializer gives it another form in JSON
    return found


def _non_finite_error(path: Path) -> EncodingError:
    where = _written(path)
    return EncodingError(
        f"{where or 'The value'} is NaN or infinite, and JSON has no such numbers;"
        " send None or a text in its place."
    )


def _written(path: Sequence[str | int]) -> str:
    """Write a path as `user.marks[0]`."""
    parts = [f"[{name}]" if isinstance(name, int) else f".{name}" for name in path]
    return "".join(parts).removeprefix(".")


def load_json(data: str | bytes, *, is_second_try: bool = False) -> object:
    """Decode a JSON text.

    Raises:
        InvalidMessage: It is not valid JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        # With space after the first bracket, orjson 3.13 allocates too little for dense values.
        if exc.msg.startswith("failed to allocate") and not is_second_try:
            text = (data if isinstance(data, bytes) else data.encode()).lstrip()
            return load_json(text[:1] + text[1:].lstrip(), is_second_try=True)
        raise InvalidMessage(f"The message is not valid JSON: {exc.msg}.") from None
