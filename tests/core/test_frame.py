import pytest
from pondsocket.adapter import Frame
from pondsocket_common import EncodingError, ServerActions, ServerMessage


def frame() -> Frame:
    return Frame.of(ServerMessage(ServerActions.BROADCAST, "say", "/r", "1", {"é": 1}))


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
