"""Where WebSocket frames begin and end (RFC 6455, section 5.2), without reading what is in them."""

# The longest: two bytes, eight of a length, and four of a mask.
_MAX_HEAD = 14
# From here on, opcodes are those of control frames, which may stand within a fragmented message.
_CONTROL = 8


class FrameWalk:
    """Follows what another parser is given, from one boundary between messages to the next.

    What breaks the rules ends the connection, and with it the walk; so it need not be right here.
    """

    __slots__ = ("_due", "_head", "_is_inside")

    def __init__(self) -> None:
        self._head = b""
        self._due = 0
        self._is_inside = False

    @property
    def has_ended(self) -> bool:
        """Whether the other parser, given all up to where this has come, is between messages."""
        return not (self._head or self._due or self._is_inside)

    def on(self, data: bytes, position: int) -> int:
        """Go on to the end of the frame; gives where that is, or the end of the data."""
        if not self._due:
            known = len(self._head)
            head = self._head + data[position : position + _MAX_HEAD - known]
            size = _size_of_head(head)
            if len(head) < size:
                self._head = head
                return len(data)
            self._head = b""
            position += size - known
            self._due = _size_of_body(head)
            if head[0] & 0x0F < _CONTROL:
                self._is_inside = not head[0] & 0x80
        passed = min(self._due, len(data) - position)
        self._due -= passed
        return position + passed


def _size_of_head(head: bytes) -> int:
    """How many bytes stand before the payload, as far as the first ones tell."""
    if len(head) < 2:
        return 2
    # With the mask, which every frame of a client has.
    return 6 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0)


def _size_of_body(head: bytes) -> int:
    size = head[1] & 0x7F
    if size < 126:
        return size
    return int.from_bytes(head[2:4] if size == 126 else head[2:10])
