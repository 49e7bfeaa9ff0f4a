"""Messages on their way, encoded."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, Self, cast

from pondsocket_common import (
    POND,
    Codec,
    MessageParts,
    Payload,
    Position,
    ServerActions,
    ServerMessage,
    sse_frame,
    sse_retry,
    websocket_frame,
)

from pondsocket._log import about, get_log
from pondsocket._runtime.loop import failure_of

_log: Final = get_log("pondsocket.codec")

# What an envelope takes besides names: those of its fields, an id, and a position.
_ENVELOPE_BYTES: Final = 160
# Read for every reply, as a global: an attribute of an instance costs more.
_encode_pond: Final = POND.encode
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ServerActions.BROADCAST
_tuple: Final = tuple.__new__
# What a frame takes besides its text: its own object, the message and its names, and the ASGI
# message that is made of it (`python -m tests.core.waiting_frames`).
_OBJECTS_BYTES: Final = 768
_NO_PAYLOAD: Final[Payload] = {}


def bytes_held(payload_size: int) -> int:
    """Return how many bytes of memory a broadcast takes while it waits, about.

    Args:
        payload_size: Of its payload as JSON, in bytes.
    """
    # Twice: the payload, and the one form that most recipients of a channel share.
    return 2 * payload_size + _OBJECTS_BYTES


class _CompactMessage(ServerMessage):
    """The message of a frame that is compact."""

    __slots__ = ()


class Frame:
    """A message on its way, in one wire format.

    Each form of it is made on first demand, and shared by all recipients.

    Attributes:
        codec: The wire format.
        size: In bytes, as it is sent; of a broadcast, which is encoded on demand, an estimate.
        held: How many bytes of memory it takes while it waits, about. 0 before `weigh`.
        channel: The channel of `position`; also the channel that `droppable` refers to.
        position: The reader's position in the channel's history after this frame.
        droppable: Whether a full outbox may drop it, first of all for a frame of the same channel.
        conflate_key: If not None, it may be dropped only if a later frame of the same channel has
            the same key.
        utf8: `encoded`; None while nothing has asked for it.
        wire: The whole WebSocket frame, header and payload; None until `make_wire`.
        websocket_form, stream_form: What the two transports share between their recipients.
    """

    # Attributes that are read for each recipient are not properties, which would cost a call
    # (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and adapter").
    __slots__ = (
        "_parts",
        "_rare",
        "_sse",
        "_text",
        "channel",
        "codec",
        "conflate_key",
        "droppable",
        "held",
        "position",
        "size",
        "stream_form",
        "utf8",
        "websocket_form",
        "wire",
    )

    def __init__(
        self, message: MessageParts, codec: Codec, size: int, encoded: bytes | None = None
    ) -> None:
        self._parts: MessageParts = message
        self.codec: Codec = codec
        self.size: int = size
        self.held: int = 0
        self.channel: str | None = None
        self.droppable: bool = False
        self.conflate_key: Hashable = None
        self.position: Position | None = None
        self.wire: bytes | None = None
        self.websocket_form: object = None
        self.stream_form: object = None
        self.utf8 = encoded
        self._text: str | None = None
        self._sse: bytes | None = None
        self._rare: _RareForms | None = None

    @property
    def message(self) -> ServerMessage:
        """The message; without its payload if the frame is compact."""
        parts = self._parts
        if type(parts) is tuple:
            parts = self._parts = _tuple(ServerMessage, parts)
        return cast(ServerMessage, parts)

    @classmethod
    def of(cls, message: MessageParts, codec: Codec = POND) -> Self:
        """Encode a message now.

        Raises:
            EncodingError: Its payload cannot be written as JSON.
        """
        if codec is POND:
            encoded = _encode_pond(message)
            return cls(message, codec, len(encoded), encoded)
        frame = cls(message, codec, 0)
        frame.utf8 = encoded = codec.encode(frame.message)
        frame.size = len(encoded)
        # Now: what a codec gives that is no text must not fail where it is written, between others.
        frame._text = encoded.decode()
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
        message = _BROADCAST, event, channel_name, request_id, payload, position
        frame = cls(message, POND, len(payload) + len(event) + len(channel_name) + _ENVELOPE_BYTES)
        if position is not None:
            frame.channel, frame.position = channel_name, position
        return frame

    def in_format(self, codec: Codec) -> Frame | None:
        """Return the same frame in another wire format. None if its codec fails, which is logged.

        This runs inside the fan-out loop, so the members behind must get the frame all the same.

        Raises:
            RuntimeError: The frame is for one connection, and its payload was let go.
        """
        if codec is self.codec:
            return self
        if self._parts[4] is _NO_PAYLOAD:
            raise RuntimeError("This frame is for one connection: see SharedFrame.")
        others = self._made_rare().formats
        if codec not in others:
            others[codec] = self._encode_in(codec)
        return others[codec]

    def _encode_in(self, codec: Codec) -> Frame | None:
        try:
            # Not the message of this frame, which may be compact already.
            message = _tuple(ServerMessage, self._parts)
            frame = Frame.of(message, codec).copy_marks(self)
        except BaseException as error:  # noqa: BLE001 - boundary: an application's codec
            failure = failure_of(error)
            text = "The codec %r failed: its members do not get an event (channel=%r event=%r)."
            name, event = self.message.channel_name, self.message.event
            extra = about(channel=name, event=event)
            _log.error(text, codec.name, name, event, exc_info=failure, extra=extra)
            return None
        if self._rare is not None and self._rare.retry:
            frame._made_rare().retry = self._rare.retry
        return frame

    def _made_rare(self) -> _RareForms:
        if self._rare is None:
            self._rare = _RareForms()
        return self._rare

    def copy_marks(self, original: Frame) -> Frame:
        """Copy the position and the drop policy of another frame. Return this frame."""
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key
        self.position = original.position
        return self

    def with_retry(self, milliseconds: int) -> Self:
        """Have its block tell the reader how long to wait before it reconnects. Return it."""
        self._made_rare().retry = sse_retry(milliseconds)
        return self

    def weigh(self) -> int:
        """Set `held`, and return it."""
        if not self.held:
            payload = self._parts[4]
            if isinstance(payload, bytes):
                self.held = bytes_held(len(payload))
            else:
                self.held = self.size + _OBJECTS_BYTES
        return self.held

    def compact(self) -> None:
        """Hold no more than is needed: the frame is going to wait behind others. Idempotent.

        Of a frame made by `of` it keeps the text alone: the objects of a payload may take many
        times the memory.
        """
        message = self._parts
        if type(message) is _CompactMessage:
            return
        # Copied, because a bytes object of orjson's takes a block of 4 KiB, however short it is.
        # A frame that is written at once needs no copy.
        action, event, name, request_id, payload, position = message
        kept: object = _NO_PAYLOAD
        if isinstance(payload, bytes) and self.codec is POND:
            kept = b"%b" % payload
        elif self.utf8 is not None:
            self.utf8 = b"%b" % self.utf8
        else:
            kept = payload
        # As `_CompactMessage(…)`, at half the cost.
        self._parts = _tuple(_CompactMessage, (action, event, name, request_id, kept, position))

    @property
    def encoded(self) -> bytes:
        """The message in this format, as UTF-8."""
        if self.utf8 is None:
            self.utf8 = self._encode()
        return self.utf8

    def _encode(self) -> bytes:
        """Return `encoded`. If it is not kept yet, it is not: the caller keeps a form of it."""
        encoded = self.utf8
        if encoded is not None:
            return encoded
        return _encode_pond(self._parts) if self.codec is POND else self.codec.encode(self.message)

    def make_wire(self) -> bytes:
        """Build and return `wire`."""
        encoded = self.utf8  # as `_encode`, without the call: `tests.benchmarks`, "Echo"
        self.wire = wire = websocket_frame(self._encode() if encoded is None else encoded)
        return wire

    @property
    def text(self) -> str:
        """The payload of a WebSocket text frame."""
        if self._text is None:
            self._text = self._encode().decode()
        return self._text

    @property
    def sse(self) -> bytes:
        """The block of an event stream, with the event's name."""
        if self._sse is None:
            block = sse_frame(self._encode(), self.message.event)
            self._sse = block if self._rare is None else self._rare.retry + block
        return self._sse

    @property
    def sse_unnamed(self) -> bytes:
        """The block without the event's name, for readers of unnamed events only."""
        rare = self._made_rare()
        if rare.sse_unnamed is None:
            rare.sse_unnamed = rare.retry + sse_frame(self._encode())
        return rare.sse_unnamed


class SharedFrame(Frame):
    """A frame made by `of` for several connections, which may have different wire formats."""

    __slots__ = ()

    def compact(self) -> None:
        """Keep the payload too; see `Frame.compact`."""
        if type(self._parts) is not _CompactMessage:
            self.utf8 = b"%b" % self.encoded
            self._parts = _tuple(_CompactMessage, self._parts)


class _RareForms:
    """The forms that most frames are never sent in, and the line that its blocks begin with."""

    __slots__ = ("formats", "retry", "sse_unnamed")

    def __init__(self) -> None:
        self.formats: dict[Codec, Frame | None] = {}
        self.retry = b""
        self.sse_unnamed: bytes | None = None


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
        self.frames: Sequence[Frame] = frames
        self.size: int = sum([frame.size for frame in frames])
        self.has_positions: bool = any(frame.position is not None for frame in frames)
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
