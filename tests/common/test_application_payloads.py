"""What an application may send, and the error where JSON cannot represent it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
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
from pondsocket_common._codec import json_values
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
def test_numbers_that_json_lacks_are_an_encoding_error(number: float) -> None:
    with pytest.raises(EncodingError, match=r"^a\.n\[1\] is NaN or infinite"):
        dump_json({"none": None, "a": {"n": [1, number]}})
    assert dump_json({"none": None, "text": "null"}) == b'{"none":null,"text":"null"}'


class Measured(BaseModel):
    known: float = 0.0
    unknown: Any = None


class Grade(Enum):
    NONE = math.nan


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Measured(known=math.nan), "known"),
        (Measured(unknown={"rows": [math.inf]}), r"unknown\.rows\[0\]"),
        ({"m": [Measured(known=math.nan)]}, "known"),
        ({"p": Point(math.inf, 1)}, r"p\.x"),  # type: ignore[arg-type]
        ({"g": Grade.NONE}, "g"),
        (MappingProxyType({"m": MappingProxyType({"n": math.nan})}), r"m\.n"),
        ({"t": (1, (math.nan,))}, r"t\[1\]\[0\]"),
        (math.nan, "The value"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_such_a_number_is_found_wherever_it_is(value: Any, where: str) -> None:
    with pytest.raises(EncodingError, match=f"^{where} is NaN or infinite"):
        dump_json(value)
    assert b"null" in dump_json({"models": [Measured()]})


def test_what_a_client_may_have_sent_is_not_searched_in_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def search(value: object) -> None:
        raise AssertionError(value)

    monkeypatch.setattr(json_values, "_non_finite", search)
    rows: list[object] = [[None, {}, [], 1.5, "nan"]] * 9
    for value in (
        {"rows": rows},
        {"model": Measured(unknown=rows)},
        {"grade": Point(1, 2), "n": None},
    ):
        assert b"null" in dump_json(value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [{"b": {1}}]}, r"set \(at a\[0\]\.b\)\.$"),
        ({"a": Point({1: 2}, 0)}, r"key must be str, not int: 1 \(at a\.x\)\.$"),  # type: ignore[arg-type]
        ({"a": {"b": 2**70}}, r"64-bit range \(at a\.b\)\.$"),
        (["\ud800"], r"surrogates not allowed \(at \[0\]\)\.$"),
        (
            {"a": Measured(unknown=object())},
            "^Measured cannot be written as JSON: .*'object'>",
        ),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_json_lacks_is_named_by_its_place_in_one_error(value: Any, where: str) -> None:
    for encode in (dump_json, lambda value: encode_server(broadcast(value))):
        with pytest.raises(EncodingError, match=where) as caught:
            encode(value)
        chain = [caught.value.__cause__, caught.value.__context__]
        assert chain in ([None, None], [caught.value.__cause__] * 2), chain


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
