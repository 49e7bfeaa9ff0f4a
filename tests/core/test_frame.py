import pytest
from pondsocket.adapter import Batch, Frame
from pondsocket_common import (
    POND,
    Codec,
    EncodingError,
    Pong,
    Position,
    ServerActions,
    ServerMessage,
    decode_server,
)

from tests.array_codec import ARRAY


def frame() -> Frame:
    return Frame.of(ServerMessage(ServerActions.BROADCAST, "say", "/r", "1", {"é": 1}))


def broadcast(number: int) -> Frame:
    return Frame.broadcast("/r", "say", "1", b'{"n":%d}' % number, Position("e", number))


def test_each_form_is_made_once() -> None:
    made = frame()

    assert made.text is made.text
    assert made.sse is made.sse
    assert made.sse_unnamed is made.sse_unnamed


def test_the_forms_say_the_same() -> None:
    made = frame()

    assert made.text.encode() == made.encoded
    assert made.size == len(made.encoded)
    assert made.sse == b"event: say\ndata: " + made.encoded + b"\n\n"
    assert made.sse_unnamed == b"data: " + made.encoded + b"\n\n"


def test_what_json_cannot_say_is_an_encoding_error() -> None:
    with pytest.raises(EncodingError):
        Frame.of(ServerMessage(ServerActions.BROADCAST, "say", "/r", "1", {"bad": object()}))


# --- in several wire formats ------------------------------------------------------------------


def translated(frame: Frame, codec: Codec = ARRAY) -> Frame:
    made = frame.in_format(codec)
    assert made is not None
    return made


def test_a_frame_is_made_once_for_each_format() -> None:
    made = broadcast(1)

    assert made.in_format(POND) is made
    assert made.in_format(ARRAY) is made.in_format(ARRAY)
    assert translated(made).in_format(ARRAY) is made.in_format(ARRAY)
    assert ARRAY.decode_server(translated(made).encoded) == decode_server(made.encoded)


def test_a_frame_in_another_format_has_the_same_marks_and_a_size_of_its_own() -> None:
    made = broadcast(1)
    made.droppable, made.conflate_key = True, ("say", 1)

    other = translated(made)
    assert (other.channel, other.position) == ("/r", Position("e", 1))
    assert (other.droppable, other.conflate_key) == (True, ("say", 1))
    assert other.size == len(other.encoded) < made.size
    assert other.wire is None
    assert other.make_wire().endswith(other.encoded)


def test_the_time_to_come_back_stands_in_the_block_of_each_format() -> None:
    made = Frame.of(ServerMessage(ServerActions.SYSTEM, "GOODBYE", "GATEWAY", "1", {}))
    assert made.with_retry(1_500) is made
    for each in (made, translated(made)):
        assert each.sse == b"retry: 1500\nevent: GOODBYE\ndata: " + each.encoded + b"\n\n"
        assert each.sse_unnamed == b"retry: 1500\ndata: " + each.encoded + b"\n\n"
        assert each.text.encode() == each.encoded


def test_a_batch_is_made_once_for_each_format() -> None:
    frames = [broadcast(number) for number in range(3)]
    batch = Batch(frames)

    for codec in (POND, ARRAY):
        made = batch.in_format(codec)
        assert made is batch.in_format(codec)
        assert [*made.frames] == [each.in_format(codec) for each in frames]
        assert made.has_positions
        assert made.size == sum(each.size for each in made.frames)
        assert made.wire == b"".join(each.make_wire() for each in made.frames)
        assert made.sse == b"".join(each.sse for each in made.frames)
        assert made.sse_unnamed == b"".join(each.sse_unnamed for each in made.frames)


def test_what_one_format_takes_is_not_encoded_in_others() -> None:
    made = Frame.of(ServerMessage(ServerActions.SYSTEM, "PONG", "GATEWAY", "1", Pong()), ARRAY)

    assert made.codec is ARRAY
    assert made.encoded == b'[1,"1","GATEWAY","PONG",{}]'
    assert decode_server(translated(made, POND).encoded) == made.message
