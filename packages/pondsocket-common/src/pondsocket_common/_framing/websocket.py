"""WebSocket frames as a server writes them (RFC 6455, section 5.2)."""

import struct
from typing import Final

# The FIN bit and the opcode of text.
_TEXT: Final = 0x81
_SHORT: Final = tuple(bytes((_TEXT, size)) for size in range(126))
_MEDIUM: Final = struct.Struct("!BBH").pack
_LONG: Final = struct.Struct("!BBQ").pack


def websocket_frame(text: bytes) -> bytes:
    """Build a whole, unmasked text frame, as a server sends it; `text` is UTF-8."""
    size = len(text)
    if size < 126:
        return _SHORT[size] + text
    if size < 65_536:
        return _MEDIUM(_TEXT, 126, size) + text
    return _LONG(_TEXT, 127, size) + text
