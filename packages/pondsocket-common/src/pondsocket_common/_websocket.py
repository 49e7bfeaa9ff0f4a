"""WebSocket framing, of what a server sends (RFC 6455, section 5.2)."""

# FIN and the opcode of a text frame.
_TEXT = 0x81


def websocket_frame(text: bytes) -> bytes:
    """A whole text frame of a server: unmasked, not compressed, not fragmented.

    It is valid also where permessage-deflate was negotiated (RFC 7692, section 6: a bit of each
    message says whether it is compressed).
    """
    size = len(text)
    if size < 126:
        return bytes((_TEXT, size)) + text
    if size < 65_536:
        return bytes((_TEXT, 126)) + size.to_bytes(2) + text
    return bytes((_TEXT, 127)) + size.to_bytes(8) + text
