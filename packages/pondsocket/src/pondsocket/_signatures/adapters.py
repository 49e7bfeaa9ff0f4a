"""Compiles types, once for each handler: pydantic then reads or writes values of them."""

import re
from typing import Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
from pydantic_core import SchemaError

from pondsocket._runtime.functions import is_callable_type


class UnknownType(TypeError):  # noqa: N818 - named by what it is about
    """A type has no form in JSON, or is not there yet. The text is a clause that says why."""


def adapter_of(hint: Any) -> TypeAdapter[Any]:
    """Compile a type.

    Raises:
        UnknownType: pydantic cannot read and write values of it.
    """
    if is_callable_type(hint):
        raise UnknownType("it is a function")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        # Else a type that names a missing one would fail at the first message.
        if not getattr(adapter, "pydantic_complete", True):  # since pydantic 2.10
            adapter.rebuild(raise_errors=True)
        adapter.validator.validate_python  # noqa: B018 - earlier versions raise at this
    except PydanticUndefinedAnnotation as error:
        raise UnknownType(
            f"it names {error.name!r}, which is not there yet; define that one before the handler,"
            " and import it outside of `if TYPE_CHECKING`"
        ) from error
    except (PydanticUserError, SchemaError, TypeError) as error:
        raise UnknownType(_first_sentence(str(error))) from error
    return adapter


def _first_sentence(text: str) -> str:
    # Names of types have dots in them, so a dot alone ends no sentence.
    return " ".join(re.split(r"\.\s|\.$|\n\n", text, maxsplit=1)[0].split())
