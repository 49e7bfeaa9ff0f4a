"""WebSocket frames as a server writes them (RFC 6455, section 5.2)."""

import struct
from typing import Final

# FIN and the opcode of text.
_TEXT: Final = 0x81
_SHORT: Final = tuple(bytes((_TEXT, size)) for size in range(126))
_MEDIUM: Final = struct.Struct("!BBH").pack
_LONG: Final = struct.Struct("!BBQ").pack


def websocket_frame(text: bytes) -> bytes:
    """One whole text frame from a server, which masks nothing; `text` is UTF-8."""
    size = len(text)
    if size < 126:
        return _SHORT[size] + text
    if size < 65_536:
        return _MEDIUM(_TEXT, 126, size) + text
    return _LONG(_TEXT, 127, size) + text
