"""Encoded messages."""

from pondsocket_common import ServerMessage, encode_server, sse_frame


class Frame:
    """One message, encoded once; each transport's form is made on first demand and shared."""

    __slots__ = ("_sse", "_sse_unnamed", "_text", "event", "json", "size")

    def __init__(self, json: bytes, event: str) -> None:
        self.json = json
        self.event = event
        self.size = len(json)  # in bytes
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
