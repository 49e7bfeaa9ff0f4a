"""Messages on their way, encoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from pondsocket_common import (
    POND,
    Codec,
    Position,
    ServerActions,
    ServerMessage,
    sse_frame,
    websocket_frame,
)

from pondsocket._runtime.loop import failure_of

_log: Final = logging.getLogger("pondsocket.codec")

# What an envelope takes besides names: those of its fields, an id, and a position.
_ENVELOPE_BYTES: Final = 160
# Read for every reply, as a global: an attribute of an instance costs more.
_encode_pond: Final = POND.encode
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ServerActions.BROADCAST
_tuple: Final = tuple.__new__


class Frame:
    """A message on its way, in one wire format.

    Each form of it is made on first demand, and shared by all recipients.

    Attributes:
        codec: The wire format.
        encoded: The message in this format, as UTF-8; None until `encode`.
        size: In bytes. Of a broadcast it is an estimate, because that is encoded on demand.
        channel: The channel of `position`; also the channel that `droppable` refers to.
        position: The reader's position in the channel's history after this frame.
        droppable: Whether a full outbox may drop it.
        conflate_key: If not None, it may be dropped only if a later frame of the same channel has
            the same key.
        wire: The whole WebSocket frame, header and payload; None until `make_wire`.
        websocket_form, stream_form: What a transport makes of it once for all its recipients.
    """

    # Attributes that are read for each recipient are not properties, which would cost a call
    # (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and adapter").
    __slots__ = (
        "_forms",
        "channel",
        "codec",
        "conflate_key",
        "droppable",
        "encoded",
        "message",
        "position",
        "size",
        "stream_form",
        "websocket_form",
        "wire",
    )

    def __init__(
        self, message: ServerMessage, codec: Codec, size: int, encoded: bytes | None = None
    ) -> None:
        self.message = message
        self.codec = codec
        self.size = size
        self.channel: str | None = None
        self.droppable = False
        self.conflate_key: Hashable = None
        self.position: Position | None = None
        self.wire: bytes | None = None
        self.websocket_form: object = None
        self.stream_form: object = None
        self.encoded = encoded
        # The forms that few frames need, by the names of their properties; and the same frame in
        # other formats, by their codecs.
        self._forms: dict[object, Any] | None = None

    @classmethod
    def of(cls, message: ServerMessage, codec: Codec = POND) -> Frame:
        """Encode a message now.

        Raises:
            EncodingError: Its payload cannot be written as JSON.
        """
        if codec is POND:
            encoded = _encode_pond(message)
            return cls(message, codec, len(encoded), encoded)
        encoded = codec.encode(message)
        frame = cls(message, codec, len(encoded), encoded)
        # Now: what a codec gives that is no text must not fail where it is written, between others.
        frame._forms = {"text": encoded.decode()}
        return frame

    @classmethod
    def broadcast(
        cls,
        channel_name: str,
        event: str,
        request_id: str,
        payload: bytes,
        position: Position | None,
    ) -> Frame:
        """Make the frame of a broadcast, whose envelopes are put around the payload on demand.

        It is in the pond format; `in_format` gives it in others.

        Args:
            payload: As JSON.
        """
        # As `ServerMessage(…)`, at half the cost.
        message = _tuple(
            ServerMessage,
            (_BROADCAST, event, channel_name, request_id, payload, position),
        )
        frame = cls(message, POND, len(payload) + len(event) + len(channel_name) + _ENVELOPE_BYTES)
        if position is not None:
            frame.channel, frame.position = channel_name, position
        return frame

    def in_format(self, codec: Codec) -> Frame | None:
        """Return the same frame in another wire format. None if its codec fails, which is logged.

        It does not raise, because it runs inside the fan-out loop: the other members must get the
        frame.
        """
        if codec is self.codec:
            return self
        forms = self._forms
        if forms is None:
            forms = self._forms = {}
        if codec not in forms:
            forms[codec] = self._encode_in(codec)
        found: Frame | None = forms[codec]
        return found

    def _encode_in(self, codec: Codec) -> Frame | None:
        try:
            return Frame.of(self.message, codec).copy_marks(self)
        except BaseException as error:  # noqa: BLE001 - boundary: an application's codec
            failure = failure_of(error)
            text = "The codec %r failed: its members do not get an event (channel=%r event=%r)."
            name, event = self.message.channel_name, self.message.event
            _log.error(text, codec.name, name, event, exc_info=failure)
            return None

    def copy_marks(self, original: Frame) -> Frame:
        """Copy the position and the drop policy of another frame. Return this frame."""
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key
        self.position = original.position
        return self

    def encode(self) -> bytes:
        """Build and return `encoded`."""
        encoded = self.encoded
        if encoded is None:
            encoded = self.encoded = self.codec.encode(self.message)
        return encoded

    def make_wire(self) -> bytes:
        """Build and return `wire`."""
        self.wire = wire = websocket_frame(self.encoded or self.encode())
        return wire

    @property
    def text(self) -> str:
        """The payload of a WebSocket text frame."""
        found: str = self._form("text", bytes.decode)
        return found

    @property
    def sse(self) -> bytes:
        """The block of an event stream, with the event's name."""
        found: bytes = self._form("sse", sse_frame, self.message.event)
        return found

    @property
    def sse_unnamed(self) -> bytes:
        """The block without the event's name, for readers of unnamed events only."""
        found: bytes = self._form("sse_unnamed", sse_frame)
        return found

    def _form(self, name: str, make: Callable[..., object], *arguments: object) -> Any:
        forms = self._forms
        if forms is None:
            forms = self._forms = {}
        if name not in forms:
            forms[name] = make(self.encode(), *arguments)
        return forms[name]


class Batch:
    """Frames that leave together. Each transport's form is joined once, and shared.

    Attributes:
        frames: The frames, in order.
        size: Their size together, in bytes.
        has_positions: Whether some have a position in a history.
    """

    __slots__ = (
        "_other_formats",
        "_sse",
        "_sse_unnamed",
        "_wire",
        "frames",
        "has_positions",
        "size",
    )

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.size = sum([frame.size for frame in frames])
        self.has_positions = any(frame.position is not None for frame in frames)
        self._wire: bytes | None = None
        self._sse: bytes | None = None
        self._sse_unnamed: bytes | None = None
        self._other_formats: dict[Codec, Batch] | None = None

    def in_format(self, codec: Codec) -> Batch:
        """Return the batch with all frames in one wire format."""
        if self._other_formats is None:
            self._other_formats = {}
        found = self._other_formats.get(codec)
        if found is None:
            translated = [frame.in_format(codec) for frame in self.frames]
            found = Batch([frame for frame in translated if frame is not None])
            self._other_formats[codec] = found
        return found

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
