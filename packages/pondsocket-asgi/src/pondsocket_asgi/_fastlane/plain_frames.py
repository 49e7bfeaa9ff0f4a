"""The frames that the fast lane takes without a parser, and those that it writes. Pure.

They are whole and have no extension.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pondsocket_common import websocket_frame
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode

from .received import apply_mask

TEXT: Final = 0x81
BINARY: Final = 0x82
PING: Final = 0x89
PONG: Final = 0x8A
_CLOSE: Final = 0x88
# The largest size that fits in a frame's second byte, and the largest in the two bytes behind it.
SHORT: Final = 125
MEDIUM: Final = 65_535
IS_MEDIUM: Final = 254  # 126, and 128, the mask's bit

_PLAIN: Final = (TEXT, BINARY, PING, PONG)
_CONTROL: Final = (PING, PONG)


class CloseFrame(NamedTuple):
    """A close frame, and what the app is told of it."""

    code: int
    reason: str
    payload: bytes

    @property
    def wire(self) -> bytes:
        """The frame as a server writes it."""
        return bytes((_CLOSE, len(self.payload))) + self.payload


def read_close(data: bytes) -> CloseFrame | None:
    """Return the close frame that data is. None if it is not one that is whole and valid."""
    if len(data) < 6 or data[0] != _CLOSE:
        return None
    size = data[1] - 128
    if not 0 <= size <= SHORT or len(data) != 6 + size:
        return None
    payload = apply_mask(data[6:], data[2:6])
    try:
        close = Close.parse(payload)
    except (ProtocolError, UnicodeDecodeError):
        return None
    return CloseFrame(close.code, close.reason, payload)


def close_of(message: Mapping[str, Any]) -> CloseFrame | None:
    """Return the frame of an app's `websocket.close`. None if it would not be valid."""
    code, reason = message.get("code", 1000), message.get("reason") or ""
    try:
        payload = Close(code, reason).serialize()
    except (ProtocolError, TypeError, UnicodeEncodeError):
        return None
    return CloseFrame(code, reason, payload) if len(payload) <= SHORT else None


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
