"""WebSocket frames of a server, against another implementation of RFC 6455."""

import pytest
from pondsocket_common import websocket_frame
from websockets.frames import Frame, Opcode


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_a_frame_is_what_others_write(size: int) -> None:
    text = b"x" * size
    assert websocket_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)
