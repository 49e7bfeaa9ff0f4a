"""The canonical text of a value: the one text that stands for it in a name.

A handler with `room_id: int` would read 7 from `/chat/7`, `/chat/07` and `/chat/+7`, which are
three names and so three rooms. Its clients would all be let into "room 7", and not meet. So a name
matches only if the value is written as JSON writes it. Pure, but for the application's validators.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pondsocket_common import is_name
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from pondsocket._errors import UsageError

# Types of which two values that are equal may have two texts (`1.0` and `1.00`; one moment in two
# time zones), and types that no single text stands for.
_AMBIGUOUS: Final = {
    *("complex", "datetime", "decimal", "float", "time"),
    *("dataclass", "dict", "frozenset", "generator", "json", "list", "model", "set", "tuple"),
    *("call", "callable", "named-tuple", "typed-dict"),
}
# Types that read the same value from the same text every time; not `PastDate`, nor a function.
_PURE: Final = {"bool", "int", "literal", "nullable", "str", "union", "uuid"}
_INNER: Final = ("schema", "lax_schema", "python_schema")


class Canonical:
    """A mark for `Annotated`: how the value of a pattern's parameter is written.

    For types with several texts for one value. A name in which the value is written in another way
    does not match: `price: Annotated[Decimal, Canonical(lambda price: f"{price:.2f}")]`.

    Args:
        text: Returns the one text of a value.

    Raises:
        UsageError: It is no function.
    """

    __slots__ = ("text",)

    def __init__(self, text: Callable[[Any], str]) -> None:
        if not callable(text):
            raise UsageError(f"Canonical: a function of the value is needed, not {text!r}.")
        self.text: Callable[[Any], str] = text


class OtherText(ValueError):  # noqa: N818 - named by what was sent
    """The value is written in another way.

    Args:
        canonical: How it is written.
    """

    def __init__(self, canonical: str) -> None:
        super().__init__(f"It is written {canonical}.")
        self.canonical = canonical

    @property
    def is_sayable(self) -> bool:
        """Whether a client may be told: it can be part of a name."""
        return is_name(self.canonical)


class NamedType:
    """The type of a parameter that stands in a name.

    Args:
        mark: Says how its values are written; None: as in JSON.

    Raises:
        UsageError: Its values have several texts each, and there is no mark.
    """

    __slots__ = ("_adapter", "_is_given", "_is_pure", "_last", "_text")

    def __init__(self, adapter: TypeAdapter[Any], mark: Canonical | None) -> None:
        self._adapter = adapter
        self._is_given = mark is not None
        kinds = set(_kinds(adapter.core_schema))
        self._is_pure = mark is None and kinds <= _PURE
        # The text that was read last, and its value: a name is read once to find the handler, and
        # once more for its arguments.
        self._last: tuple[str, Any] | None = None
        if mark is not None:
            self._text: Callable[[Any], str] = mark.text
        elif kinds & _AMBIGUOUS or {"bool", "int"} <= kinds:  # True == 1
            raise UsageError("several texts stand for one value of it")
        else:
            # By far the most common ones, at a third of the cost.
            self._text = str if kinds in ({"int"}, {"str"}, {"uuid"}) else self._written_in_json

    def read(self, text: str) -> Any:
        """Return the value that a text stands for.

        Raises:
            ValidationError: It is none of this type.
            OtherText: The value is written in another way.
            UsageError: It cannot be known how the value is written.
        """
        last = self._last
        if last is not None and last[0] == text:
            return last[1]
        value = self._adapter.validate_python(text)
        written = self._text(value)
        if written != text and (self._is_given or self._stands_for(written, value)):
            if not isinstance(written, str):
                raise UsageError(
                    f"a function of Canonical(…) returned {written!r}, which is no str"
                )
            raise OtherText(written)
        if self._is_pure:
            self._last = text, value
        return value

    def _written_in_json(self, value: object) -> str:
        try:
            shown = self._adapter.dump_python(value, mode="json", warnings=False)
        except PydanticSerializationError:
            shown = None
        if isinstance(shown, str):
            return shown
        if isinstance(shown, bool):
            return "true" if shown else "false"
        if isinstance(shown, int):
            return str(shown)
        raise UsageError(
            f"a {type(value).__name__} is not written in one way: add Canonical(function) to the"
            " type, whose function returns the text of a value"
        )

    def _stands_for(self, written: str, value: object) -> bool:
        """Return whether a text would be read as this value, and so name the same."""
        # Not where a validator turns one word into another: then the other word names nothing.
        try:
            return bool(self._adapter.validate_python(written) == value)
        except Exception:  # noqa: BLE001 - boundary: a validator, of a text that no client has sent
            return False


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of types in a schema of pydantic, and whether functions change them."""
    yield schema["type"]
    for inner in [schema.get(name) for name in _INNER]:
        if isinstance(inner, Mapping):
            yield from _kinds(inner)
    for choice in schema.get("choices", ()):
        if isinstance(choice, list | tuple):
            choice = choice[0]  # the other is its label
        if isinstance(choice, Mapping):
            yield from _kinds(choice)
