"""What a handler returns: the type is compiled at registration, and each value is checked."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial, reduce
from inspect import isclass, signature
from operator import or_
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    Never,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pondsocket_common import dump_typed
from pydantic import TypeAdapter, ValidationError

from pondsocket._errors import PondError, UsageError
from pondsocket._log import get_log
from pondsocket._runtime.functions import Form, options_of, peel

from .adapters import UnknownType, adapter_of
from .defaults import UNTYPED
from .marks import Fail, is_documentation, type_name

_log: Final = get_log("pondsocket.handlers")
_NOTHING: Final = (None, NoneType, Never, NoReturn)
_UNIONS: Final = (Union, UnionType)
# Values of exactly these types are JSON already.
_SCALARS: Final = (str, int, float, bool)
_MAX_LISTED: Final = 10
_MAX_TYPE_CHARS: Final = 80
_MODULES: Final = re.compile(r"(?<!['\"\w])(?:[\w<>]+\.)+(?=[A-Za-z_])")

# By the names of its fields as well as by their aliases: objects have attributes, not aliases.
_LENIENT: Final[dict[str, Any]] = {"from_attributes": True}
if "by_name" in signature(TypeAdapter.validate_python).parameters:  # since pydantic 2.11
    _LENIENT.update(by_alias=True, by_name=True)


class Response:
    """What a handler returns, as its signature says.

    This one is that of a handler without an annotation: any value is sent as it is.

    Attributes:
        shape: Makes a JSON value of what was returned; None: it is sent as it is.
        missing: What to say if None, which is no reply, is returned; empty: it may be.
    """

    shape: Callable[[object], object] | None = None
    missing = ""


class NoResponse(Response):
    """That of `-> None`: nothing is sent.

    Args:
        where: The handler, for the log.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._is_told = False

    async def drop(self, ctx: object, returned: object) -> None:
        """Handle a returned value: an error is raised, any other is logged, once."""
        del ctx
        if isinstance(returned, PondError):
            raise returned
        if not self._is_told:  # once, or each message would be a line
            self._is_told = True
            _log.warning(
                "%s has returned a value, which is not sent, because of `-> None`; write what it"
                " returns, or `-> Any`. Later ones are not logged.",
                self._where,
            )


class TypedResponse(Response):
    """That of a handler with a return type.

    Args:
        where: The handler, for error messages.
        hint: The type, without the errors that it may return.
        adapter: The same, compiled.
    """

    def __init__(self, where: str, hint: Any, adapter: TypeAdapter[Any]) -> None:
        self._where = where
        self._written = written = _written(hint)
        self._exact = hint if hint in _SCALARS else None
        self._adapter = adapter
        # The adapter's own method does the same, behind further calls.
        self._validate: Callable[[object], object] = partial(
            adapter.validator.validate_python, **_LENIENT
        )
        self.shape = self._shape
        if not _admits_none(hint):
            self.missing = (
                f"{where}: it has returned None, and says `-> {written}`; write"
                f" `-> {written} | None` if it may have no reply."
            )

    def _shape(self, returned: object) -> object:
        """Return a JSON value with the declared fields alone. None and errors stay as they are.

        Raises:
            UsageError: The value does not fit.
            EncodingError: It cannot be written as JSON.
        """
        if type(returned) is self._exact or returned is None or isinstance(returned, PondError):
            return returned
        try:
            value = self._validate(returned)
        except ValidationError as error:
            # Not `from error`: its text shows values, which may be secret.
            raise UsageError(self._unfit(error)) from None
        return dump_typed(value, self._adapter)

    def _unfit(self, error: ValidationError) -> str:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        listed = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}"
            for each in faults[:_MAX_LISTED]
        )
        if len(faults) > _MAX_LISTED:
            listed += "; …"
        return f"{self._where}: what it has returned does not fit `-> {self._written}`: {listed}."


ANY_RESPONSE: Final = Response()


def response_of(hint: Any, form: Form, where: str, fail: Fail) -> Response:
    """Read a return type. Call `fail` with a sentence, which it raises, if that is impossible."""
    if form is Form.PLAIN and get_origin(hint) in (Awaitable, Coroutine):
        hint = get_args(hint)[-1]
    if any(isinstance(each, str | ForwardRef) for each in options_of(hint)):
        fail("the type of what it returns is a string that cannot be read; write it without quotes")
    if _is_nothing(hint):
        return NoResponse(where)
    if _is_anything(hint):
        return ANY_RESPONSE
    hint = _without_errors(hint)
    try:
        return TypedResponse(where, hint, adapter_of(hint))
    except UnknownType as error:
        fail(
            f"what it returns, `-> {_written(hint)}`, cannot be written as JSON ({error}); write a"
            " model, a dataclass or a TypedDict with the fields to be sent, or `-> Any`"
        )


def _written(hint: Any) -> str:
    """Return a type as it is written, without the modules of its parts; "…" if that is long."""
    if not get_args(hint):
        return type_name(hint)
    written = _MODULES.sub("", str(hint))
    return written if len(written) < _MAX_TYPE_CHARS else "…"


# --- kinds of types ---------------------------------------------------------------------------


def _is_nothing(hint: Any) -> bool:
    return all(each in _NOTHING or _is_error(each) for each in options_of(hint))


def _is_error(hint: Any) -> bool:
    """Return whether all values of the type are errors to be told."""
    return all(isclass(each) and issubclass(each, PondError) for each in options_of(hint))


def _is_anything(hint: Any) -> bool:
    """Return whether it says nothing about what is in a value."""
    bare, marks = peel(hint)
    if not all(map(is_documentation, marks)):
        return False
    if get_origin(bare) in _UNIONS:
        return all(map(_is_anything, get_args(bare)))
    if get_origin(bare) in (dict, Mapping):
        keys, values = get_args(bare)
        return keys in (str, *UNTYPED) and values in UNTYPED
    return bare in (*UNTYPED, *_NOTHING, dict, Mapping) or _is_error(bare)


def _admits_none(hint: Any) -> bool:
    for each in options_of(hint):
        if each in (*UNTYPED, *_NOTHING) or isinstance(each, TypeVar):
            return True
        if get_origin(each) is Literal and None in get_args(each):
            return True
    return False


def _without_errors(hint: Any) -> Any:
    """Return a union without its errors, which pydantic could not read; other types unchanged."""
    bare, marks = peel(hint)
    if get_origin(bare) not in _UNIONS:
        return hint
    given = get_args(bare)
    kept = [_without_errors(each) for each in given if not _is_error(each)]
    if len(kept) == len(given) and all(map(lambda a, b: a is b, kept, given)):
        return hint
    union: Any = reduce(or_, kept)
    return Annotated[(union, *marks)] if marks else union
