"""Encode values as JSON and decode them: the only file besides the codec that uses orjson."""

from collections.abc import Mapping

import orjson
from pydantic import BaseModel

from pondsocket_common._errors import EncodingError, InvalidMessage


def dump_json(value: object) -> bytes:
    """Encode as JSON what the application may send: JSON values, mappings, dataclasses, models.

    Raises:
        EncodingError: JSON has no form for the value, or it holds an integer outside 64 bits.
    """
    try:
        return orjson.dumps(value, default=dump_model)
    except TypeError as exc:
        raise EncodingError(f"The payload cannot be written as JSON: {exc}") from exc


def dump_model(value: object) -> object:
    """Convert what `orjson.dumps` does not know to a JSON value.

    Raises:
        TypeError: JSON has no form for it.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


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
