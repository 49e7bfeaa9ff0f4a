"""Server-Sent Events: text to blocks and back (HTML Living Standard, section 9.2)."""

import codecs
from dataclasses import dataclass
from typing import Final

from pondsocket_common._errors import InvalidMessage

# Browsers run a page's `onerror` and `onopen` for events of these names. An event without a name is
# a `message`.
_KEPT_BY_READERS: Final = frozenset({"error", "open", "message"})
# What many readers take for the end of a line, after Unicode: those that use `str.splitlines`.
# JSON has these in strings only, where they may be escaped.
_LINE_ENDS: Final = {
    "\u0085".encode(): rb"\u0085",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}


def sse_frame(data: bytes, event: str | None = None) -> bytes:
    """Build one block. It has no `event:` line if readers would take the name for another thing.

    Args:
        data: JSON; a line break in it is kept.
        event: A valid name.
    """
    if not data.isascii():
        for character, escape in _LINE_ENDS.items():
            data = data.replace(character, escape)
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())  # what a reader joins again
    # A client may choose the name, and with a line end in it would write lines of its own.
    if event is None or event in _KEPT_BY_READERS or event.splitlines() != [event]:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


def sse_comment(text: str = "") -> bytes:
    """Build a comment line, which ends no block. It keeps proxies from closing an idle stream."""
    return b": %b\n" % text.encode() if text else b":\n"


def sse_retry(milliseconds: int) -> bytes:
    """Build the line of a block that tells the reader how long to wait before it reconnects."""
    return b"retry: %d\n" % milliseconds


def sse_with_id(blocks: bytes, event_id: bytes) -> bytes:
    """Put an `id:` at the end of the last block: readers then resume behind all of it.

    In front of its data it would be wrong: some readers take an id as they read it, and resume
    behind a message that was cut.
    """
    return b"%bid: %b\n\n" % (blocks[:-1], event_id)


@dataclass(frozen=True, slots=True)
class SSEEvent:
    """One dispatched event.

    Args:
        event: Its name; "message" if the stream gives none.
        id: The last event id of the stream at that moment.
        retry: The reconnection time in milliseconds, if its block holds one.
    """

    event: str
    data: str
    id: str = ""
    retry: int | None = None


class SSEDecoder:
    """Decodes a stream of bytes into events. Chunks may begin and end anywhere.

    Args:
        max_chars: How long one block's data may be.
    """

    def __init__(self, *, max_chars: int = 16 * 1024 * 1024) -> None:
        self.last_event_id: str = ""
        self.retry: int | None = None
        self._max_chars = max_chars
        # "UTF-8 decode" in the standard: bad bytes become U+FFFD, one leading BOM is dropped.
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._at_start = True
        self._after_cr = False
        self._parts: list[str] = []
        self._data: list[str] = []
        self._event = ""
        self._id = ""
        self._block_retry: int | None = None
        self._data_chars = 0
        self._line_chars = 0

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Decode a chunk, and return the events that it completes.

        Raises:
            InvalidMessage: A block is longer than `max_chars`.
        """
        text = self._decode(chunk)
        if text and self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            # CRLF is one line end, even if the chunk ends between the two.
            self._after_cr = False
            text = text.removeprefix("\n")
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        events: list[SSEEvent] = []
        for line in lines:
            self._hold(line)
            whole = "".join(self._parts)
            self._parts.clear()
            self._line_chars = 0
            if (event := self._take_line(whole)) is not None:
                events.append(event)
        self._hold(rest)
        return events

    def _hold(self, part: str) -> None:
        if part:
            self._parts.append(part)
            self._line_chars += len(part)
        # Counted line by line, so that the size of the chunks does not matter.
        if self._data_chars + self._line_chars > self._max_chars:
            raise InvalidMessage(f"A block of the stream is longer than {self._max_chars}.")

    def _take_line(self, line: str) -> SSEEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
                self._data_chars += len(value) + 1  # the line break between two of them
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                # 15 digits are 30,000 years; Python refuses to convert thousands of digits.
                self.retry = self._block_retry = int(value[:15])
            case _:
                pass  # the standard ignores comments and unknown fields
        return None

    def _dispatch(self) -> SSEEvent | None:
        event, data = self._event, self._data
        retry, self._block_retry = self._block_retry, None
        self._event, self._data, self._data_chars = "", [], 0
        # Only a whole block changes it, even one without data: half a block was not received.
        self.last_event_id = self._id
        if not data:
            return None
        return SSEEvent(event or "message", "\n".join(data), self.last_event_id, retry)
