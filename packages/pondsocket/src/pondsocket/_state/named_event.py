"""Outgoing events as values: a name and the type of its payloads, said once."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from inspect import isroutine
from typing import Any, Final, Generic, TypeVar, get_origin, overload

from pondsocket_common import EncodingError, Payload, dump_typed
from pydantic import (
    BaseModel,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    RootModel,
    TypeAdapter,
    ValidationError,
)
from pydantic.errors import PydanticInvalidForJsonSchema

from pondsocket._errors import UsageError

from .payloads import check_event

T = TypeVar("T")

_MAX_FAULTS: Final = 3


class Event(Generic[T]):
    """An event that the application sends: its name, and the type of its payloads.

    It stands wherever the name of an event does: `await ctx.broadcast(said, Said(id=7))`. A payload
    that does not fit is an error for the caller, and nothing is sent. The declared fields alone are
    sent: those of a subclass are not.

    Args:
        payload_type: A pydantic model, a dataclass, a TypedDict, `dict[str, Any]`, or another type
            that is an object in JSON.

    Raises:
        UsageError: The name is reserved or not valid, or the type cannot be an object.
    """

    __slots__ = ("_adapter", "name", "payload_type")

    @overload
    def __init__(self, name: str, payload_type: type[T]) -> None: ...
    @overload  # unions and `Annotated`: for a type checker these are no `type[T]`
    def __init__(self, name: str, payload_type: Any) -> None: ...
    def __init__(self, name: str, payload_type: Any) -> None:
        check_event(name)
        self.name: str = name
        self.payload_type: Any = payload_type
        self._adapter = _adapter_of(name, payload_type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {_type_name(self.payload_type)}>"

    def as_payload(self, value: object) -> Payload:
        """Return the JSON object that is sent for a payload; None stands for an empty one.

        Raises:
            EncodingError: It does not fit, or cannot be written as JSON. The text names the event
                and the fields, and shows no value.
        """
        adapter = self._adapter
        try:
            known = adapter.validate_python({} if value is None else value)
            # Also an instance: those of dataclasses have never been validated, and others may have
            # been changed since.
            dumped = dump_typed(known, adapter)
        except ValidationError as error:
            raise self._unfit(_faults(error)) from None
        except EncodingError as error:
            raise EncodingError(f"The event {self.name!r}: {error}") from error
        if not isinstance(dumped, dict):
            raise self._unfit(f"a payload is an object, not {type(dumped).__name__}")
        return dumped

    def _unfit(self, why: str) -> EncodingError:
        wanted = _type_name(self.payload_type)
        return EncodingError(
            f"The payload of the event {self.name!r} does not fit {wanted}: {why}."
        )


def named(event: object, payload: object) -> tuple[str, object]:
    """Return the name of an event, checked, and its payload; for what is no plain str.

    Raises:
        UsageError: It is no `Event`, and no valid name.
        EncodingError: The payload does not fit the event.
    """
    if isinstance(event, Event):
        return event.name, event.as_payload(payload)
    if not isinstance(event, str):
        # Mostly a payload without a name before it: its values are not for the log.
        raise UsageError(
            f"An event is a name or an `Event(name, type)`, not {type(event).__name__}: the name"
            " comes first, and then the payload."
        )
    check_event(event)
    return event, payload


# --- types of payloads ------------------------------------------------------------------------


def _adapter_of(name: str, payload_type: Any) -> TypeAdapter[Any]:
    example = f"`Event({name!r}, Model)`"
    if isinstance(payload_type, str | BaseModel) or isroutine(payload_type):
        raise UsageError(f"{example}: {repr(payload_type)[:60]} is no type of a payload.")
    wanted = _type_name(payload_type)
    try:
        adapter = TypeAdapter(payload_type)
        is_object = _may_be_object(adapter, payload_type)
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        why = str(error).partition("\n")[0]
        raise UsageError(f"{example}: {wanted} cannot be the type of a payload: {why}") from error
    if not is_object:
        raise UsageError(
            f"{example}: a payload is an object, and {wanted} is none in JSON; write a model, a"
            " dataclass, a TypedDict or a dict, for instance with one field `value`."
        )
    return adapter


def _may_be_object(adapter: TypeAdapter[Any], payload_type: Any) -> bool:
    try:
        schema = adapter.json_schema(mode="serialization")
    except PydanticInvalidForJsonSchema:  # one of its fields has a form that no schema describes
        return _is_object_type(get_origin(payload_type) or payload_type)
    return _describes_object(schema, schema.get("$defs", {}), frozenset())


def _is_object_type(kind: object) -> bool:
    return isinstance(kind, type) and (
        is_dataclass(kind)
        or issubclass(kind, Mapping)
        or (issubclass(kind, BaseModel) and not issubclass(kind, RootModel))
    )


def _describes_object(schema: dict[str, Any], known: dict[str, Any], seen: frozenset[str]) -> bool:
    """Return whether a JSON schema describes objects, or anything."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/$defs/")
        return name in seen or _describes_object(known.get(name, {}), known, seen | {name})
    if "type" in schema:
        return bool(schema["type"] == "object")
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
    return "enum" not in schema and all(_describes_object(each, known, seen) for each in options)


# --- what is said of payloads that do not fit -------------------------------------------------


def _type_name(payload_type: object) -> str:
    return payload_type.__name__ if isinstance(payload_type, type) else repr(payload_type)[:120]


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [
        ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
        for each in faults[:_MAX_FAULTS]
    ]
    more = len(faults) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")
