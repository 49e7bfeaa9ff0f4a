"""Checks of what an application sends: names of events, and payloads."""

from collections.abc import Mapping

from pondsocket_common import RESERVED_EVENTS, Payload, dump_model, is_name
from pydantic import BaseModel

from pondsocket._errors import UsageError


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
