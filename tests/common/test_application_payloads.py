"""What an application may send, and the error where JSON cannot represent it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from pondsocket_common import (
    ClientActions,
    ClientMessage,
    EncodedPayload,
    EncodingError,
    Ping,
    Position,
    ServerActions,
    ServerMessage,
    decode_client,
    decode_server,
    dump_json,
    encode_client,
    encode_server,
    is_name,
    message_bytes,
)
from pydantic import BaseModel, Field, field_serializer

from tests.common.decoders import broadcast, client_text


class Said(BaseModel):
    text: str
    sender_id: int = Field(serialization_alias="senderId")


@dataclass
class Point:
    x: int
    y: int


class Event(StrEnum):
    SAID = "said"


class Unwritable(BaseModel):
    x: int = 1

    @field_serializer("x")
    def fail(self, x: int) -> int:
        raise RuntimeError("the application's secret")


def test_models_dataclasses_and_mappings_are_written_as_json() -> None:
    payload = MappingProxyType({"said": Said(text="hi", sender_id=7), "at": [Point(1, 2)]})
    data = encode_server(broadcast(payload))
    expected = {"said": {"text": "hi", "senderId": 7}, "at": [{"x": 1, "y": 2}]}
    assert decode_server(data).payload == expected


def test_an_event_may_be_named_by_an_enum() -> None:
    assert is_name(Event.SAID)
    message = broadcast({})._replace(event=Event.SAID)
    assert decode_server(encode_server(message)).event == "said"


@pytest.mark.parametrize(
    "value",
    [
        {"n": 2**64},
        {"n": -(2**63) - 1},
        {"s": "\ud800"},
        {"\udfff": 1},
        {1: "a"},
        {"o": object()},
        {"b": b"bytes"},
        {"s": {1, 2}},
        {"m": Unwritable()},
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_json_cannot_say_is_an_encoding_error(value: Any) -> None:
    with pytest.raises(EncodingError):
        encode_server(broadcast(value))
    message = ClientMessage(ClientActions.BROADCAST, "message", "/chat/1", "r1", value)
    with pytest.raises(EncodingError):
        encode_client(message)


def test_a_payload_that_holds_itself_is_an_encoding_error() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(EncodingError):
        dump_json(payload)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_never_passed_on(number: float) -> None:
    assert dump_json({"n": number}) == b'{"n":null}'


def test_message_bytes_counts_the_whole_message() -> None:
    message = decode_client(client_text('{ "text" : "\\u00e9" }'))
    assert isinstance(message, ClientMessage)
    assert message_bytes(message) == len(encode_client(message))
    assert message_bytes(Ping()) == 0


@pytest.mark.parametrize("event", ["ask", 'a "b"', Event.SAID])
@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"said": Said(text="hi", sender_id=7), "at": [Point(1, 2)]},
        MappingProxyType({"deep": {"deeper": MappingProxyType({"n": 2**64 - 1})}}),
        {"a": float("nan")},
        *({"a": object()}, {"a": 2**64}, {1: 2}, {"a": "\ud800"}, {"a": Unwritable()}),
    ],
)
@pytest.mark.parametrize("position", [None, Position('e"1', 7)])
def test_a_payload_that_is_encoded_first_is_written_as_any_other(
    event: str, payload: Any, position: Position | None
) -> None:
    message = ServerMessage(ServerActions.SYSTEM, event, '/chat/"1"', "r\u00e9", payload, position)

    def encode_first() -> bytes:
        return encode_server(message._replace(payload=EncodedPayload(dump_json(payload))))

    assert written(encode_first) == written(lambda: encode_server(message))


def written(encode: Callable[[], bytes]) -> bytes | str:
    try:
        return encode()
    except EncodingError as error:
        return str(error)
