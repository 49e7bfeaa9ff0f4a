"""Where WebSocket frames begin and end (RFC 6455, section 5.2), without reading their payload."""

# The longest header: two bytes, eight of the length, and four of the mask.
_MAX_HEAD = 14
# Opcodes from 8 on are those of control frames, which may come within a fragmented message.
_CONTROL = 8


class FrameBoundaries:
    """Follows the bytes that another parser gets, from one boundary between messages to the next.

    It does not handle invalid frames: these end the connection.
    """

    __slots__ = ("_due", "_head", "_is_inside")

    def __init__(self) -> None:
        self._head = b""
        self._due = 0
        self._is_inside = False

    @property
    def has_ended(self) -> bool:
        """Whether the other parser, given all bytes so far, is between two messages."""
        return not (self._head or self._due or self._is_inside)

    @property
    def is_inside_frame(self) -> bool:
        """Whether only a part of the last frame was passed."""
        return bool(self._head or self._due)

    def on(self, data: bytes, position: int) -> int:
        """Go on to the end of the frame. Return its position, or the end of the data if before."""
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
    """Return how many bytes of header a frame has, as far as the bytes so far tell."""
    if len(head) < 2:
        return 2
    # The 6 includes the mask, which every frame of a client has.
    return 6 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0)


def _size_of_body(head: bytes) -> int:
    size = head[1] & 0x7F
    if size < 126:
        return size
    return int.from_bytes(head[2:4] if size == 126 else head[2:10])
