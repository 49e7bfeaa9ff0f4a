"""The array format of the tests: as strict as the pond format, and with the public names alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import (
    ClientMessage,
    InvalidMessage,
    Ping,
    Position,
    ServerActions,
    ServerMessage,
    ServerPayload,
    decode_client,
    dump_json,
    encode_client,
    load_json,
)

from tests.array_codec import ARRAY
from tests.common import strategies as some
from tests.common.strategies import more


@more
@given(some.client_messages)
def test_a_clients_message_comes_back(message: ClientMessage) -> None:
    data = ARRAY.encode_client(message)
    assert ARRAY.decode(data) == message == decode_client(encode_client(message))
    assert ARRAY.decode_batch(data) == [message]
    assert ARRAY.decode_batch(b"[%b,%b]" % (data, data)) == [message, message]


@pytest.mark.parametrize(
    ("action", "events", "payloads"),
    some.owned,
    ids=[f"{action} {events[0]}" for action, events, _ in some.owned],
)
def test_a_message_of_the_server_comes_back(
    action: ServerActions, events: list[str], payloads: Any
) -> None:
    @some.repeatable
    @given(payloads, some.channel_names, some.names, st.none() | some.positions)
    def check(payload: ServerPayload, channel: str, request: str, position: Any) -> None:
        message = ServerMessage(action, events[0], channel, request, payload, position)
        assert ARRAY.decode_server(ARRAY.encode(message)) == message

    check()


@more
@given(some.payloads, some.names, some.channel_names, st.none() | some.positions)
def test_a_broadcast_comes_back_encoded_or_not(
    payload: dict[str, Any], name: str, channel: str, position: Position | None
) -> None:
    message = ServerMessage(ServerActions.BROADCAST, name, channel, "1", payload, position)
    data = ARRAY.encode(message)
    assert ARRAY.decode_server(data) == message
    encoded: Any = dump_json(payload)
    assert ARRAY.encode(message._replace(payload=encoded)) == data


def test_broken_text_is_an_invalid_message() -> None:
    parts: st.SearchStrategy[Any] = st.sampled_from(
        [0, 1, 2, 3, 4, True, 3.0, None, "", "a", "/a", "GATEWAY", "ACKNOWLEDGE", {}]
    )

    @more
    @given(st.lists(parts | some.json_values, max_size=8) | some.json_values)
    def check(value: Any) -> None:
        try:
            found = ARRAY.decode(dump_json(value))
        except InvalidMessage:
            return
        assert isinstance(value, list)
        if not isinstance(found, Ping):
            assert ARRAY.decode(ARRAY.encode_client(found)) == found

    check()


@more
@given(st.binary(max_size=20) | st.text(max_size=20))
def test_any_text_is_decoded_or_an_invalid_message(data: str | bytes) -> None:
    for decode in (ARRAY.decode, ARRAY.decode_batch, ARRAY.decode_server):
        try:
            decode(data)
        except InvalidMessage:
            continue


@pytest.mark.parametrize(
    ("text", "field", "request_id"),
    [
        ("[]", None, None),
        ("{}", None, None),
        ('[4,"1","/a","e",{}]', "kind", "1"),
        ('[true,"1","/a","e",{}]', "kind", "1"),
        ('["BROADCAST","1","/a","e",{}]', "kind", "1"),
        ('[3,1,"/a","e",{}]', "request-id", None),
        ('[3,"1","/a","",{}]', "event", "1"),
        ('[3,"1","/a","e",[]]', "payload", "1"),
        ('[3,"1","/a","e"]', "payload", "1"),
        ('[3,"1","a","e",{}]', "channel", "1"),
        ('[1,"1","GATEWAY/1","e",{}]', "channel", "1"),
        ('[3,"1","/a","EVICTED",{}]', "event", "1"),
        ('[3,"1","/a","e",{},null]', "confirm", "1"),
        ('[3,"1","/a","e",{},true,null]', None, "1"),
        ('[2,"1","/a","e",{},true]', None, "1"),
        ('[1,"1","/a","e",{},["x"]]', "since", "1"),
        ('[1,"1","/a","e",{},["x",true]]', "since", "1"),
        ('[1,"1","/a","e",{},null,"all"]', "presence", "1"),
        (f'[3,"1","/a","e",{{"a":{"[" * 63}{"]" * 63}}}]', None, "1"),
        ('[3,"1","/a","e",{"a":18446744073709551616}]', None, "1"),
    ],
)
def test_a_refusal_names_the_field_and_the_request(
    text: str, field: str | None, request_id: str | None
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        ARRAY.decode(text)
    assert (caught.value.field, caught.value.request_id) == (field, request_id)


def test_depth_is_counted_for_each_message_of_a_batch() -> None:
    def event(number: int, levels: int) -> str:
        return f'[3,"{number}","/a","e",{{"a":{"[" * levels}{"]" * levels}}}]'

    assert len(ARRAY.decode_batch(f"[{event(1, 62)},{event(2, 62)}]")) == 2
    with pytest.raises(InvalidMessage, match="deeper than 64 levels") as caught:
        ARRAY.decode_batch(f"[{event(1, 62)},{event(2, 63)}]")
    assert caught.value.request_id == "2"


@pytest.mark.parametrize(
    "change",
    [{0: 9}, {0: "SYSTEM"}, {1: ""}, {2: 5}, {4: None}, {4: []}, {5: 5}, {6: -1}, {6: None}],
)
def test_broken_text_of_a_server_is_refused(change: dict[int, Any]) -> None:
    message = ServerMessage(ServerActions.BROADCAST, "e", "/a", "1", {}, Position("x", 1))
    value: Any = load_json(ARRAY.encode(message))
    for place, part in change.items():
        value[place] = part
    with pytest.raises(InvalidMessage):
        ARRAY.decode_server(json.dumps(value))
