"""Encoded messages."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from pondsocket_common import (
    Position,
    ServerMessage,
    encode_server,
    sse_frame,
    websocket_frame,
)


class Frame:
    """One message, encoded once; each transport's form is made on first demand and shared.

    Args:
        json: The text.
        event: The event's name, which event streams say outside of it.

    Attributes:
        size: In bytes.
        channel: In whose history, if it has one, `position` is.
        position: Where it leaves its reader there.
        droppable: An outbox that is full may drop it, for another of the same channel first.
        conflate_key: If not None, it may be dropped only if a later frame of the same channel has
            the same key.
        message: What the WebSocket door makes of it, to be shared by all who are sent it there.
        stream_message, stream_mark: The same of the event streams' door, and for which of them.
        text: The payload of a WebSocket text frame.
        wire: The whole WebSocket frame, header and payload.
        sse: The block of an event stream, with the event's name.
        sse_unnamed: The same without a name, for readers that listen to unnamed events alone.
    """

    __slots__ = (
        "channel",
        "conflate_key",
        "droppable",
        "event",
        "json",
        "message",
        "position",
        "size",
        "sse",
        "sse_unnamed",
        "stream_mark",
        "stream_message",
        "text",
        "wire",
    )

    # A slot that was never set is looked up by `__getattr__`, once; after that it is read for each
    # recipient without a call, as no property is (tests/benchmarks/microbench.py, "push").
    text: str
    wire: bytes
    sse: bytes
    sse_unnamed: bytes

    def __init__(self, json: bytes, event: str) -> None:
        self.json = json
        self.event = event
        self.size = len(json)
        self.channel: str | None = None
        self.droppable = False
        self.conflate_key: Hashable = None
        self.position: Position | None = None
        self.message: object = None
        self.stream_mark: bytes | None = None
        self.stream_message: object = None

    def __getattr__(self, name: str) -> Any:
        make = _FORMS.get(name)
        if make is None:
            raise AttributeError(f"a frame has no {name!r}", name=name, obj=self)
        form = make(self)
        setattr(self, name, form)
        return form

    @classmethod
    def of(cls, message: ServerMessage) -> "Frame":
        """Encode `message`.

        Raises:
            EncodingError: Its payload cannot be written as JSON.
        """
        return cls(encode_server(message), message.event)

    def copy_marks(self, original: "Frame") -> "Frame":
        """Let the same become of it as of another; gives itself."""
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key
        self.position = original.position
        return self


_FORMS: Final[dict[str, Callable[[Frame], str | bytes]]] = {
    "text": lambda frame: frame.json.decode(),
    "wire": lambda frame: websocket_frame(frame.json),
    "sse": lambda frame: sse_frame(frame.json, frame.event),
    "sse_unnamed": lambda frame: sse_frame(frame.json),
}


class Batch:
    """Frames that leave together: what each transport writes is joined once, and shared.

    Attributes:
        frames: In their order.
        size: In bytes, together.
        has_positions: Whether some are of a history.
        wire: All of them as WebSocket frames.
        sse: All of them as blocks of an event stream, with names.
        sse_unnamed: The same without.
    """

    __slots__ = ("frames", "has_positions", "size", "sse", "sse_unnamed", "wire")

    wire: bytes
    sse: bytes
    sse_unnamed: bytes

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.size = sum([frame.size for frame in frames])
        self.has_positions = any(frame.position is not None for frame in frames)

    def __getattr__(self, name: str) -> Any:
        if name not in ("wire", "sse", "sse_unnamed"):
            raise AttributeError(f"a batch has no {name!r}", name=name, obj=self)
        form = b"".join([getattr(frame, name) for frame in self.frames])
        setattr(self, name, form)
        return form
