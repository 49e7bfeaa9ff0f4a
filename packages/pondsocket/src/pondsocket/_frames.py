"""Encoded messages."""

from collections.abc import Hashable

from pondsocket_common import Position, ServerMessage, encode_server, sse_frame


class Frame:
    """One message, encoded once; each transport's form is made on first demand and shared.

    `droppable`: an outbox that is full may drop it, for another of the same `channel` first. With
    a `conflate_key` only if a later frame of the same channel has the same key. `position`: where
    it leaves its reader in the history of `channel`, if there is one.
    """

    __slots__ = (
        "_sse",
        "_sse_unnamed",
        "_text",
        "channel",
        "conflate_key",
        "droppable",
        "event",
        "json",
        "position",
        "size",
    )

    def __init__(self, json: bytes, event: str) -> None:
        self.json = json
        self.event = event
        self.size = len(json)  # in bytes
        self.channel: str | None = None
        self.droppable = False
        self.conflate_key: Hashable = None
        self.position: Position | None = None
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
        """Let the same become of it as of another; gives itself."""
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key
        self.position = original.position
        return self

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
        """The same without a name, for readers that listen to unnamed events alone."""
        if self._sse_unnamed is None:
            self._sse_unnamed = sse_frame(self.json)
        return self._sse_unnamed
