"""Checks of what an application sends, and of what it is sent: names of events, and payloads."""

from collections.abc import Mapping
from typing import Any, Final

from pondsocket_common import RESERVED_EVENTS, Detail, Payload, dump_model, is_name
from pydantic import BaseModel, TypeAdapter, ValidationError

from pondsocket._errors import InvalidPayload, UsageError

# pydantic lists all faults or none, at 0.5 us each: so many cost what 64 KiB of good message do.
_MAX_LISTED: Final = 256


def check_event(event: str) -> None:
    """Refuse a name that an application's event cannot have.

    Raises:
        UsageError: It is not a valid name, or the protocol reserves it.
    """
    if not is_name(event):
        raise UsageError(f"An event's name has 1 to 255 characters, no control ones: {event!r}.")
    if event in RESERVED_EVENTS:
        raise UsageError(f"{event} is a name of the protocol's own; choose another.")


def as_payload(payload: object) -> Payload:
    """Convert an application's payload into an object. None becomes an empty one.

    Raises:
        UsageError: It is neither None, nor a mapping, nor a pydantic model of an object.
        EncodingError: A value in the model cannot be written as JSON.
    """
    if payload is None:
        return {}
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, BaseModel):
        dumped = dump_model(payload)
        if isinstance(dumped, dict):  # a RootModel may be another JSON value
            return dumped
    if isinstance(payload, Mapping):
        return dict(payload)
    raise UsageError(
        f"A payload is an object, so a dict or a pydantic model, not {type(payload).__name__};"
        ' wrap it, for instance as {"value": ...}.'
    )


def validated(adapter: TypeAdapter[Any], value: object, *loc: str) -> Any:
    """Return the value, converted to its type.

    Raises:
        InvalidPayload: It does not fit.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise unfit_payload(error, loc) from None


def unfit_payload(error: ValidationError, loc: tuple[str, ...]) -> InvalidPayload:
    """Return what a client is told about values that do not fit; `loc` says where they are."""
    count = error.error_count()
    if count > _MAX_LISTED:
        return InvalidPayload([Detail(loc, f"{count} values do not fit", "too_many")], count)
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    details = [Detail((*loc, *each["loc"]), each["msg"], each["type"]) for each in faults]
    return InvalidPayload(details, count)
