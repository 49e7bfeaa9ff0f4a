"""The frames that the fast lane takes without a parser, and those that it writes. Pure.

They are whole and have no extension.
"""

from collections.abc import Mapping
from typing import Any, Final

from pondsocket_common import websocket_frame
from websockets.frames import Frame, Opcode

TEXT: Final = 0x81
BINARY: Final = 0x82
PING: Final = 0x89
PONG: Final = 0x8A
# The largest size that fits in a frame's second byte, and the largest in the two bytes behind it.
SHORT: Final = 125
MEDIUM: Final = 65_535
IS_MEDIUM: Final = 254  # 126, and 128, the mask's bit

_PLAIN: Final = (TEXT, BINARY, PING, PONG)
_CONTROL: Final = (PING, PONG)


def end_of_control(data: bytes, position: int) -> int:
    """Return where a whole ping or pong ends that begins at `position`. 0: it is something else."""
    if len(data) < position + 6 or data[position] not in _CONTROL:
        return 0
    size = data[position + 1] - 128
    stop = position + 6 + size
    return stop if 0 <= size <= SHORT and stop <= len(data) else 0


def is_part(data: bytes, largest: int) -> bool:
    """Return whether data is the beginning of a plain frame, and the rest of it is not there.

    No frame longer than 64 KiB counts: each read copies what was kept before.

    Args:
        largest: How large a message may be.
    """
    if data[0] not in _PLAIN or len(data) < 2:
        return data[0] in _PLAIN
    size, head = data[1] - 128, 6
    if size > SHORT:
        if data[1] != IS_MEDIUM or data[0] in _CONTROL:
            return False
        if len(data) < 4:
            return True
        size, head = data[2] << 8 | data[3], 8
    return 0 <= size <= largest and len(data) < head + size


def frame_of(message: Mapping[str, Any]) -> bytes:
    """Return the frame of an app's `websocket.send`; empty, if the message has neither."""
    data: bytes | None = message.get("bytes")
    if data is not None:
        return Frame(Opcode.BINARY, data).serialize(mask=False)
    text: str | None = message.get("text")
    return b"" if text is None else websocket_frame(text.encode())
