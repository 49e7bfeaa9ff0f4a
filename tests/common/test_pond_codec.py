"""The codec against the golden vectors, and against messages that hypothesis generates."""

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pondsocket_common
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import (
    RESERVED_EVENTS,
    ClientActions,
    ClientMessage,
    InvalidMessage,
    ServerActions,
    ServerMessage,
    ServerPayload,
    decode_client,
    decode_client_batch,
    decode_server,
    encode_client,
    encode_server,
    is_channel_name,
    is_name,
)

from tests.common import strategies as some
from tests.common.decoders import DECODERS, broadcast, client_text
from tests.common.strategies import more, repeatable
from tests.common.vectors import (
    ARRAY_ROWS,
    CLIENT_ROWS,
    REFUSED_ROWS,
    SERVER_ROWS,
    Row,
    client_message,
    named,
    rows,
    server_message,
    wire,
)

# --- the golden vectors -----------------------------------------------------------------------


@pytest.mark.parametrize("row", SERVER_ROWS, ids=named)
def test_server_message_is_written_as_in_its_vector(row: Row) -> None:
    assert encode_server(server_message(row)).decode() == row["wire"]


@pytest.mark.parametrize("row", SERVER_ROWS, ids=named)
def test_server_message_is_read_as_in_its_vector(row: Row) -> None:
    expected = server_message(row)
    for data in (row["wire"], row["wire"].encode()):
        message = decode_server(data)
        assert message == expected
        assert type(message.payload) is type(expected.payload)


@pytest.mark.parametrize("row", rows("server-messages-refused.json"), ids=named)
def test_server_message_that_is_refused_names_its_field(row: Row) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode_server(row["wire"])
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("row", CLIENT_ROWS, ids=named)
def test_client_message_is_read_as_in_its_vector(row: Row) -> None:
    for data in (row["wire"], row["wire"].encode()):
        assert decode_client(data) == client_message(row)
        assert decode_client_batch(data) == [client_message(row)]
        assert decode_client_batch(f"[{row['wire']}]") == [client_message(row)]


@pytest.mark.parametrize("row", [r for r in CLIENT_ROWS if "payload_wire" in r], ids=named)
def test_integers_come_out_digit_for_digit(row: Row) -> None:
    message = decode_client(row["wire"])
    assert isinstance(message, ClientMessage)
    echoed = broadcast(message.payload)
    assert encode_server(echoed).decode().endswith(f'"payload":{row["payload_wire"]}}}')


@pytest.mark.parametrize("row", ARRAY_ROWS, ids=named)
def test_array_is_read_as_in_its_vector(row: Row) -> None:
    expected = [client_message(message) for message in row["messages"]]
    assert decode_client_batch(row["wire"]) == expected
    assert decode_client_batch(row["wire"].encode()) == expected


@pytest.mark.parametrize("row", REFUSED_ROWS, ids=named)
def test_refusal_says_what_is_wrong_and_where(row: Row) -> None:
    data = wire(row)
    forms: list[str | bytes] = [data] if isinstance(data, bytes) else [data, data.encode()]
    for form in forms:
        with pytest.raises(InvalidMessage) as caught:
            DECODERS[row["reader"]](form)
        refusal = caught.value
        assert row["says"] in refusal.reason
        assert refusal.field == row["field"]
        assert {
            "action": refusal.action,
            "channel_name": refusal.channel_name,
            "request_id": refusal.request_id,
        } == row["readable"]


@pytest.mark.parametrize("row", REFUSED_ROWS, ids=named)
def test_what_is_refused_alone_is_refused_among_others(row: Row) -> None:
    good = CLIENT_ROWS[0]["wire"].encode()
    data = wire(row)
    data = data if isinstance(data, bytes) else data.encode()
    with pytest.raises(InvalidMessage):
        decode_client_batch(b"[" + good + b"," + data + b"]")


def test_vectors_hold_every_payload_type_and_every_action() -> None:
    messages = [server_message(row) for row in SERVER_ROWS]
    seen = {type(message.payload) for message in messages}
    public = [getattr(pondsocket_common, name) for name in pondsocket_common.__all__]
    owned = {cls for cls in public if isinstance(cls, type) and issubclass(cls, ServerPayload)}
    assert seen == {*owned, dict} - {ServerPayload}
    assert {message.action for message in messages} == set(ServerActions)
    taken = [client_message(row) for row in CLIENT_ROWS]
    assert {m.action for m in taken if isinstance(m, ClientMessage)} == set(ClientActions)
    refused = {row["name"] for row in REFUSED_ROWS}
    assert {f"a broadcast of the reserved event {name}" for name in RESERVED_EVENTS} <= refused


# --- what goes in comes out -------------------------------------------------------------------


@repeatable
@given(some.client_messages)
def test_every_client_message_survives_its_encoding(message: ClientMessage) -> None:
    data = encode_client(message)
    for form in (data, data.decode()):
        decoded = decode_client(form)
        assert decoded == message
        assert isinstance(decoded, ClientMessage)
        # Equality takes 1 for 1.0; the text does not.
        assert encode_client(decoded) == data


@repeatable
@given(st.lists(some.client_messages, min_size=1, max_size=5))
def test_every_array_survives_its_encoding(messages: list[ClientMessage]) -> None:
    data = b"[" + b",".join(encode_client(message) for message in messages) + b"]"
    assert decode_client_batch(data) == messages


def assert_survives(message: ServerMessage) -> None:
    data = encode_server(message)
    for form in (data, data.decode()):
        decoded = decode_server(form)
        assert decoded == message
        assert type(decoded.payload) is type(message.payload)
        assert encode_server(decoded) == data


@pytest.mark.parametrize(
    ("action", "events", "payloads"),
    some.owned,
    ids=[f"{action} {events[0]}" for action, events, _ in some.owned],
)
def test_every_payload_of_the_server_survives_its_encoding(
    action: ServerActions, events: list[str], payloads: st.SearchStrategy[ServerPayload]
) -> None:
    messages = st.builds(
        ServerMessage,
        action=st.just(action),
        event=st.sampled_from(events),
        channel_name=some.names,
        request_id=some.names,
        payload=payloads,
        position=st.none() | some.positions,
    )
    repeatable(given(messages)(assert_survives))()


@repeatable
@given(
    st.builds(
        ServerMessage,
        action=st.sampled_from(ServerActions),
        event=some.names,
        channel_name=some.names,
        request_id=some.names,
        payload=some.payloads,
        position=st.none() | some.positions,
    ).filter(lambda message: (message.action, message.event) not in some.owned_events)
)
def test_every_payload_of_the_application_survives_its_encoding(message: ServerMessage) -> None:
    assert_survives(message)


@more
@given(
    st.recursive(
        st.integers(-(2**66), 2**67)
        | st.sampled_from([2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, -(10**300)])
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text("0123456789", max_size=25),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner),
        max_leaves=6,
    )
)
def test_integers_are_kept_exactly_or_refused(value: Any) -> None:
    def fits(part: Any) -> bool:
        if isinstance(part, list | dict):
            return all(map(fits, part.values() if isinstance(part, dict) else part))
        return not isinstance(part, int) or -(2**63) <= part < 2**64

    text = client_text(json.dumps({"v": value}))
    if fits(value):
        message = decode_client(text)
        assert isinstance(message, ClientMessage)
        assert repr(message.payload["v"]) == repr(value)
    else:
        with pytest.raises(InvalidMessage):
            decode_client(text)


@repeatable
@given(st.integers(55, 70), st.integers(0, 2**70))
def test_depth_is_counted_over_objects_and_arrays_alike(levels: int, kinds: int) -> None:
    text = "0"
    for level in range(levels):
        is_object = kinds >> level & 1
        text = f'{{"a":1,"b":{text}}}' if is_object else f"[0,{text}]"
    # The envelope and the payload are two of the 64.
    if levels <= 62:
        decode_client(client_text(f'{{"deep":{text}}}'))
    else:
        with pytest.raises(InvalidMessage, match="deeper than 64"):
            decode_client(client_text(f'{{"deep":{text}}}'))


@pytest.mark.parametrize("form", [str, str.encode])
def test_spaces_and_many_small_values_are_read(form: Callable[[str], str | bytes]) -> None:
    # orjson alone says of it that it "failed to allocate memory".
    values = "1," * 30_000 + "1"
    spacious = client_text(f'{{"v":[{values}]}}').replace("{", "{\n  ", 1)
    message = decode_client(form(spacious))
    assert isinstance(message, ClientMessage)
    assert message.payload == {"v": [1] * 30_001}
    with pytest.raises(InvalidMessage, match="not valid JSON"):
        decode_client(form(spacious + "]"))


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a", " ", "x" * 255, "\U0001f438" * 255, "\u200d", "\u2028", "\u00ad", "\u0378"]
)
def test_names_may_be_any_text_without_controls(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 256,
        "\0",
        "a\n",
        "\x1f",
        "\x7f",
        "\x80",
        "\x9f",
        "\ud800",
        "a\udfff",
        None,
        1,
        b"a",
    ],
)
def test_names_have_a_length_and_no_controls_and_no_lone_surrogates(name: object) -> None:
    assert not is_name(name)


@repeatable
@given(some.channel_names)
def test_segments_joined_by_slashes_are_a_channel_name(name: str) -> None:
    assert is_channel_name(name)
    for broken in (name[1:], name + "/", "/" + name, name.replace("/", "//", 1)):
        assert not is_channel_name(broken)


# --- the short way ----------------------------------------------------------------------------

ODD: tuple[object, ...] = (
    *("a", "", "/", "//", "/a", "a/", "/a/", "/a/b", "/a//b", "//a", "/a\n", "/\u0085", "/\u2028"),
    *("/" + "x" * 250, "/" + "x" * 254, "/" + "x" * 255, "GATEWAY", "PONG", "INTERNAL_ERROR"),
    *(None, True, 1, 1.5, [], ["a"], {}, {"a": "/b"}),
)
PAYLOADS: tuple[object, ...] = (
    *({}, {"a": None, "b": True, "c": 1, "d": "x"}, {"a": 1.5}, {"a": 2**63}, {"a": 2**64}),
    *({"a": 1, "b": [2**64]}, {"a": [], "b": {}}, {"a": -(2**63) - 1}, None, "a", 1, [], [{}]),
)


def decoded(data: str) -> object:
    try:
        return decode_client(data)
    except InvalidMessage as fault:
        return repr(fault), str(fault), fault.field, fault.channel_name, fault.request_id


@pytest.mark.parametrize("action", ["BROADCAST", "broadcast", "JOIN_CHANNEL", None, ["BROADCAST"]])
def test_event_is_judged_alike_with_an_unknown_field(action: object) -> None:
    # With another field, a message takes the slower path.
    names = ((), *product(ODD, ODD[:15], ("/a", "/a//b", "a", 1)), *product("a", ODD, ODD))
    envelopes = [
        dict(zip(("event", "channelName", "requestId"), each, strict=False)) for each in names
    ]
    messages = [{"payload": {}, **each} for each in envelopes]
    messages += [
        {"event": "a", "channelName": "/a", "requestId": "1", "payload": each} for each in PAYLOADS
    ]
    for message in messages:
        text = json.dumps({"action": action, **message})
        assert decoded(text) == decoded(text[:-1] + ',"unknown":0}'), text
