"""What an application may send: names of events, and payloads."""

from collections.abc import Mapping

from pondsocket_common import RESERVED_EVENTS, Payload, is_name
from pydantic import BaseModel

from ._errors import UsageError


def check_event(event: str) -> None:
    """Refuse a name that an application's event cannot have.

    Raises:
        UsageError: It is no name, or the protocol keeps it for itself.
    """
    if not is_name(event):
        raise UsageError(f"An event's name has 1 to 255 characters, no control ones: {event!r}.")
    if event in RESERVED_EVENTS:
        raise UsageError(f"{event} is a name of the protocol's own; choose another.")


def as_payload(payload: object) -> Payload:
    """What an application gave, as an object: a mapping, a pydantic model, or nothing.

    Raises:
        UsageError: It is something else.
    """
    if payload is None:
        return {}
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, BaseModel):
        dumped: object = payload.model_dump(mode="json", by_alias=True)
        if isinstance(dumped, dict):  # a RootModel may be anything
            return dumped
    if isinstance(payload, Mapping):
        return dict(payload)
    raise UsageError(
        f"A payload is an object, so a dict or a pydantic model, not {type(payload).__name__};"
        ' wrap it, for instance as {"value": ...}.'
    )
