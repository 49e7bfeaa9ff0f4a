"""The messages as types."""

import re

import pytest
from pondsocket_common import (
    Acknowledged,
    ClientActions,
    ClientMessage,
    EncodingError,
    InvalidMessage,
    Left,
    PondSocketError,
    Position,
    PresenceDiff,
    ServerActions,
    ServerMessage,
    encode_client,
    encode_server,
    fresh_id,
)

JOIN = ClientMessage(ClientActions.JOIN_CHANNEL, "join", "/chat/1", "r1", {})
LEFT = ServerMessage(ServerActions.SYSTEM, "EXIT_ACKNOWLEDGE", "/chat/1", "r1", Left())


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (JOIN, "event"),
        (LEFT, "event"),
        (Position("e1", 1), "offset"),
        (Acknowledged(), "response"),
        (PresenceDiff(), "joins"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_are_frozen(value: object, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, None)


def test_what_is_absent_stays_off_the_wire() -> None:
    assert b"since" not in encode_client(JOIN)
    assert b"presence" not in encode_client(JOIN)
    assert b"epoch" not in encode_server(LEFT)
    assert encode_server(LEFT._replace(payload=Acknowledged())).endswith(b'"payload":{}}')


def test_zero_and_false_and_empty_are_not_absent() -> None:
    payload = Acknowledged(epoch="e", offset=0, recovered=False, response="")
    data = encode_server(LEFT._replace(payload=payload))
    assert data.endswith(b'{"epoch":"e","offset":0,"recovered":false,"response":""}}')


def test_invalid_message_reads_as_a_sentence_with_its_field() -> None:
    assert str(InvalidMessage("must be an object.", field="payload")) == (
        "payload: must be an object."
    )
    assert str(InvalidMessage("The message is not valid JSON.")) == "The message is not valid JSON."


def test_errors_are_one_small_tree() -> None:
    assert issubclass(InvalidMessage, PondSocketError)
    assert issubclass(EncodingError, PondSocketError)
    assert issubclass(EncodingError, TypeError)
    assert not issubclass(InvalidMessage, ValueError)


def test_invalid_message_can_be_raised_again_through_context_managers() -> None:
    error = InvalidMessage("no")
    assert error.with_traceback(None) is error
    assert {error: 1}[error] == 1
    assert error != InvalidMessage("no")


def test_fresh_ids_are_128_random_bits() -> None:
    ids = {fresh_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    # Each of the 128 bits is sometimes one and sometimes zero.
    numbers = [int(one, 16) for one in ids]
    union, common = 0, 2**128 - 1
    for number in numbers:
        union, common = union | number, common & number
    assert (union, common) == (2**128 - 1, 0)
