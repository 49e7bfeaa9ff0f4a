"""The names on the wire of the fields in the server's own payloads, at any depth."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast, get_args, get_type_hints

import orjson
from pydantic import TypeAdapter, ValidationError

from pondsocket_common._enums import ErrorTypes, PresenceEventTypes, ServerActions, SystemEvents
from pondsocket_common._errors import InvalidMessage
from pondsocket_common._messages import (
    Acknowledged,
    Connected,
    Evicted,
    Fault,
    Goodbye,
    Left,
    NotFound,
    Pong,
    PresenceDiff,
    PresenceList,
    Refused,
    ServerPayload,
)

_OWNED: Final[dict[str, dict[str, type[ServerPayload]]]] = {
    ServerActions.CONNECT: {SystemEvents.CONNECTION: Connected},
    ServerActions.SYSTEM: {
        SystemEvents.ACKNOWLEDGE: Acknowledged,
        SystemEvents.EXIT_ACKNOWLEDGE: Left,
        SystemEvents.UNAUTHORIZED: Refused,
        SystemEvents.NOT_FOUND: NotFound,
        SystemEvents.EVICTED: Evicted,
        SystemEvents.GOODBYE: Goodbye,
        SystemEvents.PONG: Pong,
    },
    ServerActions.PRESENCE: {
        PresenceEventTypes.JOIN: PresenceList,
        PresenceEventTypes.UPDATE: PresenceList,
        PresenceEventTypes.LEAVE: PresenceList,
        PresenceEventTypes.DIFF: PresenceDiff,
    },
    ServerActions.ERROR: dict.fromkeys(ErrorTypes, Fault),
}


def payload_type(action: ServerActions, event: str) -> type[ServerPayload] | None:
    """Return the type of the payload of a message. None: it is the application's, a JSON object."""
    return _OWNED.get(action, {}).get(event)


class _Field(NamedTuple):
    name: str
    wire: str
    convert: Callable[[Any], object] | None
    restore: Callable[[Any], object] | None


@dataclass(frozen=True, slots=True)
class _Names:
    """The fields of one class.

    Attributes:
        converted: Those whose values are no JSON values.
        differ: Whether they are written otherwise than orjson would.
        values: Returns the values of an object's fields, in order.
    """

    fields: list[_Field]
    wires: tuple[str, ...]
    converted: list[_Field]
    differ: bool
    values: Callable[[object], tuple[Any, ...]]


class PayloadNames:
    """The names of payload fields in one wire format.

    Args:
        rename: Returns a field's name on the wire; it gets the name that the field has in Python.
    """

    def __init__(self, rename: Callable[[str], str]) -> None:
        self._rename = rename
        self._names: dict[type, _Names] = {}
        self._wire: dict[str | int, str] = {}
        self._adapters: dict[type, TypeAdapter[ServerPayload]] = {}
        for events in _OWNED.values():
            for cls in events.values():
                self._learn(cls)

    def encode(self, payload: ServerPayload) -> dict[str, object]:
        """Return a payload by its names on the wire. A field that is None is left out."""
        names = self._names.get(type(payload)) or self._learn(type(payload))
        # In C as far as possible: two of these are written for each client that joins
        # (`python -m tests.benchmarks`, "Connect and join").
        pairs = zip(names.wires, names.values(payload), strict=True)
        shown: dict[str, object] = {wire: value for wire, value in pairs if value is not None}
        for field in names.converted:
            if field.wire in shown and field.convert is not None:
                shown[field.wire] = field.convert(shown[field.wire])
        return shown

    def decode(self, cls: type[ServerPayload], given: dict[str, Any]) -> ServerPayload:
        """Check what was received for a payload of this class.

        Raises:
            InvalidMessage: It is not one.
        """
        shown = self._restore(cls, given)
        if cls not in self._adapters:
            self._adapters[cls] = TypeAdapter(cls)
        try:
            # From JSON text: pydantic's strict mode lets an array become a tuple only there.
            return self._adapters[cls].validate_json(orjson.dumps(shown), strict=True)
        except ValidationError as exc:
            fault = exc.errors()[0]
            # An index, or the member of a union that did not fit, is no field and has no name.
            where = ("payload", *(self._wire.get(part, str(part)) for part in fault["loc"]))
            raise InvalidMessage(f"{fault['msg']}.", field=".".join(where)) from None

    def _learn(self, cls: type) -> _Names:
        found = self._names.get(cls)
        if found is not None:
            return found
        hints = get_type_hints(cls)
        learnt: list[_Field] = []
        differ = False
        for field in fields(cls):
            inner = _data_class_in(hints[field.name])
            is_plain = inner is None or not self._learn(inner).differ
            wire = self._wire[field.name] = self._rename(field.name)
            # A field without a value is left out; orjson would write it as null.
            differ |= not is_plain or wire != field.name or field.default is None
            convert = None if is_plain else self._convert
            restore = None if is_plain else partial(self._restore, cast(type, inner))
            learnt.append(_Field(field.name, wire, convert, restore))
        wires = tuple(field.wire for field in learnt)
        converted = [field for field in learnt if field.convert is not None]
        values = _reader_of(tuple(field.name for field in learnt))
        names = self._names[cls] = _Names(learnt, wires, converted, differ, values)
        return names

    def _convert(self, value: Any) -> object:
        if isinstance(value, tuple):
            return [self._convert(each) for each in value]
        names = self._names.get(type(value))
        return value if names is None else self.encode(value)

    def _restore(self, cls: type, given: Any) -> Any:
        if isinstance(given, list):
            return [self._restore(cls, each) for each in given]
        if not isinstance(given, dict):
            return given
        return {
            field.name: given[field.wire]
            if field.restore is None
            else field.restore(given[field.wire])
            for field in self._learn(cls).fields
            if field.wire in given
        }


def _reader_of(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    """Return a function that returns the values of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda payload: tuple(getattr(payload, name) for name in names)


def _data_class_in(hint: Any) -> type | None:
    """Find the data class in a type such as `tuple[Detail, ...] | None`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next(filter(None, map(_data_class_in, get_args(hint))), None)
