"""No input whatever, bytes or text, raises anything but InvalidMessage."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import (
    MAX_BATCH,
    RESERVED_EVENTS,
    ClientActions,
    ClientMessage,
    ErrorTypes,
    InvalidMessage,
    ServerActions,
    decode_client,
    decode_client_batch,
    decode_server,
    encode_client,
    encode_server,
    message_bytes,
)

from tests.common import strategies as some
from tests.common.decoders import DECODERS, Decode, client_text
from tests.common.strategies import more
from tests.common.vectors import ARRAY_ROWS, CLIENT_ROWS, SERVER_ROWS

with_surrogates = st.text(st.characters(exclude_categories=()), max_size=8)
wild_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | with_surrogates,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(with_surrogates, inner, max_size=3),
    max_leaves=4,
)
known_words = st.sampled_from(
    [
        *ClientActions,
        *ServerActions,
        *ErrorTypes,
        *RESERVED_EVENTS,
        "JOIN",
        "DIFF",
        "ping",
        "GATEWAY",
    ]
)
near_messages = st.fixed_dictionaries(
    {},
    optional={
        "action": known_words | wild_values,
        "event": known_words | wild_values,
        "channelName": some.channel_names | known_words | wild_values,
        "requestId": some.names | wild_values,
        "payload": st.dictionaries(
            st.sampled_from(
                ["id", "connectionId", "code", "message", "details", "presence", "changed", "joins",
                 "updates", "leaves", "error", "retryAfterMs", "epoch", "offset", "recovered"]
            ),
            wild_values,
            max_size=4,
        ) | wild_values,
        "since": st.fixed_dictionaries({"epoch": wild_values, "offset": wild_values}) | wild_values,
        "presence": wild_values,
        "confirm": wild_values,
        "epoch": wild_values,
        "offset": wild_values,
    },
)  # fmt: skip
# As Python writes them: NaN, Infinity, integers of any size and lone surrogates included.
near_texts = (near_messages | wild_values | st.lists(near_messages, max_size=3)).map(json.dumps)
valid_texts = st.sampled_from(
    [row["wire"] for row in SERVER_ROWS + CLIENT_ROWS + ARRAY_ROWS if len(row["wire"]) < 1000]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return a valid message with a few bytes cut out, put in, doubled or changed."""
    data = bytearray(draw(valid_texts).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 8)))
        piece = st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"9" * 20])
        data[start:stop] = draw(
            piece | st.just(bytes(data[start:stop]) * 2) | st.binary(max_size=4)
        )
    return bytes(data)


def assert_taken_or_refused(data: str | bytes) -> None:
    """Check that only InvalidMessage is raised, and that accepted input survives a round trip."""
    with suppress(InvalidMessage):
        message = decode_client(data)
        if isinstance(message, ClientMessage):
            assert decode_client(encode_client(message)) == message
            assert message_bytes(message) == len(encode_client(message))
    with suppress(InvalidMessage):
        messages = decode_client_batch(data)
        assert 1 <= len(messages) <= MAX_BATCH
    with suppress(InvalidMessage):
        said = decode_server(data)
        assert decode_server(encode_server(said)) == said


@more
@given(st.binary(max_size=60) | with_surrogates)
def test_noise_is_refused(data: str | bytes) -> None:
    assert_taken_or_refused(data)


@more
@given(near_texts)
def test_what_looks_like_a_message_is_taken_or_refused(data: str) -> None:
    assert_taken_or_refused(data)
    assert_taken_or_refused(data.encode())


@more
@given(spoiled())
def test_a_spoiled_message_is_taken_or_refused(data: bytes) -> None:
    assert_taken_or_refused(data)
    assert_taken_or_refused(data.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        client_text("[" * 100_000 + "]" * 100_000),
        client_text('{"a":' * 1000 + "{}" + "}" * 1000),
        "[" + client_text('{"a":' * 900 + "{}" + "}" * 900) + "]",
        client_text('{"n":%s}' % ("9" * 100_000)),
        client_text(f'{{"n":{[2**64] * 10_000}}}'),
        '"' + "a" * 1_000_000,
        "\ud800",
        client_text('{"s":"\udfff"}'),
        "\0",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_monsters_are_refused(decode: Decode, text: str) -> None:
    with pytest.raises(InvalidMessage):
        decode(text)
    with pytest.raises(InvalidMessage):
        decode(text.encode("utf-8", "surrogatepass"))


def test_refusal_quotes_nothing_of_the_message() -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode_client('{"action": "secret", "event": "secret", "secret": secret}')
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
