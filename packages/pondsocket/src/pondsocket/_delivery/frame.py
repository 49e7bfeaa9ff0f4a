"""Encoded messages."""

from collections.abc import Hashable, Sequence

from pondsocket_common import (
    Position,
    ServerMessage,
    encode_server,
    sse_frame,
    websocket_frame,
)


class Frame:
    """One message, encoded once. Each transport's form is made on first demand and shared.

    Args:
        json: The JSON text.
        event: The event's name, which event streams send beside the text.

    Attributes:
        size: In bytes.
        channel: The channel of `position`; also the channel that `droppable` refers to.
        position: The reader's position in the channel's history after this frame.
        droppable: Whether a full outbox may drop it, first of all for a frame of the same channel.
        conflate_key: If not None, it may be dropped only if a later frame of the same channel has
            the same key.
        wire: The whole WebSocket frame, header and payload; None until `make_wire`.
        message: The WebSocket transport's form of it, shared by all recipients there.
        stream_message, stream_mark: The SSE transport's form, and the mark of the streams that
            share it.
    """

    # Attributes that are read for each recipient are not properties, which would cost a call
    # (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and adapter").
    __slots__ = (
        "_sse",
        "_sse_unnamed",
        "_text",
        "channel",
        "conflate_key",
        "droppable",
        "event",
        "json",
        "message",
        "position",
        "size",
        "stream_mark",
        "stream_message",
        "wire",
    )

    def __init__(self, json: bytes, event: str) -> None:
        self.json = json
        self.event = event
        self.size = len(json)
        self.channel: str | None = None
        self.droppable = False
        self.conflate_key: Hashable = None
        self.position: Position | None = None
        self.wire: bytes | None = None
        self.message: object = None
        self.stream_mark: bytes | None = None
        self.stream_message: object = None
        self._text: str | None = None
        self._sse: bytes | None = None
        self._sse_unnamed: bytes | None = None

    @classmethod
    def of(cls, message: ServerMessage) -> "Frame":
        """Encode `message`.

        Raises:
            EncodingError: Its payload cannot be written as JSON.
        """
        return cls(encode_server(message), message.event)

    def copy_marks(self, original: "Frame") -> "Frame":
        """Copy the position and the drop policy of another frame. Return this frame."""
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key
        self.position = original.position
        return self

    def make_wire(self) -> bytes:
        """Build and return `wire`."""
        self.wire = wire = websocket_frame(self.json)
        return wire

    @property
    def text(self) -> str:
        """The payload of a WebSocket text frame."""
        if self._text is None:
            self._text = self.json.decode()
        return self._text

    @property
    def sse(self) -> bytes:
        """The block of an event stream, with the event's name."""
        if self._sse is None:
            self._sse = sse_frame(self.json, self.event)
        return self._sse

    @property
    def sse_unnamed(self) -> bytes:
        """The block without the event's name, for readers of unnamed events only."""
        if self._sse_unnamed is None:
            self._sse_unnamed = sse_frame(self.json)
        return self._sse_unnamed


class Batch:
    """Frames that leave together. Each transport's form is joined once, and shared.

    Attributes:
        frames: The frames, in order.
        size: Their size together, in bytes.
        has_positions: Whether some have a position in a history.
    """

    __slots__ = ("_sse", "_sse_unnamed", "_wire", "frames", "has_positions", "size")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.size = sum([frame.size for frame in frames])
        self.has_positions = any(frame.position is not None for frame in frames)
        self._wire: bytes | None = None
        self._sse: bytes | None = None
        self._sse_unnamed: bytes | None = None

    @property
    def wire(self) -> bytes:
        """All of them as WebSocket frames."""
        if self._wire is None:
            self._wire = b"".join([frame.wire or frame.make_wire() for frame in self.frames])
        return self._wire

    @property
    def sse(self) -> bytes:
        """All of them as blocks of an event stream, with names."""
        if self._sse is None:
            self._sse = b"".join([frame.sse for frame in self.frames])
        return self._sse

    @property
    def sse_unnamed(self) -> bytes:
        """All of them as blocks of an event stream, without names."""
        if self._sse_unnamed is None:
            self._sse_unnamed = b"".join([frame.sse_unnamed for frame in self.frames])
        return self._sse_unnamed
