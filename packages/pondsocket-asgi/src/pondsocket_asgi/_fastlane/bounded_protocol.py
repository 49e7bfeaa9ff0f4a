"""Bounds for uvicorn's WebSockets on what no app sees: small frames, and the end of a connection.

uvicorn parses and answers any number of pings, also of a client that reads none of the answers, and
joins any number of fragments. For ten seconds after its close frame it parses all that a client
still sends. When it closes a transport, that waits until the peer has taken what was written, which
a frozen peer never does; and while it waits, the app is not told that the peer is gone.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from pondsocket_asgi._process.servers import abort_transport

from .small_frames import SmallFrames

# uvicorn parses all bytes of one call before it handles the first frame. 8 KiB hold at most 1,365
# frames.
_SLICE: Final = 8 * 1024
# A client that has not read our close frame yet may still send this much.
_AFTER_CLOSE: Final = 64 * 1024
# How long such a client has to read the close frame. Meanwhile the server reads nothing from it.
_CLOSE_SECONDS: Final = 1.0
_POLICY_VIOLATION: Final = 1008
TOO_MANY: Final = "too many pings, pongs or small fragments"


class BoundedProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection of uvicorn's that stops reading when too much comes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._small: SmallFrames | None = None  # made for the first small frame
        self._has_stopped = False
        self._bytes_left_after_close = _AFTER_CLOSE
        self._limit: asyncio.TimerHandle | None = None  # for the close, once it has begun

    def data_received(self, data: bytes) -> None:
        """Parse what the socket gave, as long as it is within the bounds."""
        if self.close_sent:
            self._bytes_left_after_close -= len(data)
            if self._bytes_left_after_close < 0:
                self._stop_reading()
                self.limit_close()
        for start in range(0, len(data), _SLICE):
            if self._has_stopped or self.transport.is_closing():
                return
            if self.is_full():
                self.keep(data[start:])
                return
            self.parse(data[start : start + _SLICE])

    def parse(self, data: bytes) -> None:
        """Parse bytes, and handle the frames that end with them."""
        super().data_received(data)

    def is_full(self) -> bool:
        """Return whether so much waits for the app that what was read is to be kept unparsed."""
        return False

    def keep(self, data: bytes) -> None:
        """Keep bytes that were read, until there is room. Called if `is_full`."""

    def handle_ping(self) -> None:
        """Answer a ping, if it is within the bounds."""
        if self._accepts_control() and not self.transport.is_closing():
            super().handle_ping()
            self.await_client()

    def await_client(self) -> None:
        """Read no more, if an answer waits for the client to read."""
        if not self.writable.is_set() and not self._has_stopped:
            self._made_counter().awaits_client = True
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on, if that was to wait until the client has read what it was sent."""
        super().resume_writing()
        if self._small is not None and self._small.awaits_client:
            self._small.awaits_client = False
            if not self.read_paused:
                self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless there is another reason not to."""
        awaits_client = self._small is not None and self._small.awaits_client
        if not self._has_stopped and not awaits_client:
            self.transport.resume_reading()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong, if it is within the bounds."""
        if self._accepts_control():
            super().handle_pong(event)

    def handle_text(self, event: Frame) -> None:
        """Take a text, or its first fragment, if it is within the bounds."""
        if self._accepts(event):
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Take bytes, or their first fragment, if they are within the bounds."""
        if self._accepts(event):
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further fragment, if it is within the bounds."""
        if self._accepts_fragment(event, is_first=False):
            super().handle_cont(event)

    def _accepts(self, event: Frame) -> bool:
        return not self._has_stopped if event.fin else self._accepts_fragment(event, is_first=True)

    def _accepts_fragment(self, event: Frame, *, is_first: bool) -> bool:
        if self._has_stopped:
            return False
        size, now = len(event.data), self.loop.time()
        return self._made_counter().take_fragment(size, now, is_first=is_first) or self._refuse()

    def _accepts_control(self) -> bool:
        if self._has_stopped:
            return False
        return self._made_counter().take_control(self.loop.time()) or self._refuse()

    def _made_counter(self) -> SmallFrames:
        if self._small is None:
            self._small = SmallFrames(self.loop.time())
        return self._small

    def _refuse(self) -> bool:
        """Stop reading, and close the connection; False."""
        self._stop_reading()
        if not self.handshake_complete:
            self.transport.abort()
        elif self.close_sent:
            self.limit_close()
        elif not self.ask_app_to_close():
            self.conn.fail(_POLICY_VIOLATION, TOO_MANY)
            self.handle_parser_exception()
        return False

    def ask_app_to_close(self) -> bool:
        """Ask the app to close the connection. False if there is no app that will."""
        return False

    def _stop_reading(self) -> None:
        self._has_stopped = True
        if not self.read_paused:
            self.transport.pause_reading()
        # Only while this is True would `receive` and `send` of uvicorn resume reading.
        self.read_paused = False

    # --- the end of the connection --------------------------------------------------------------

    def keepalive_timeout(self) -> None:
        """End the connection of a peer that has not answered a ping in time."""
        super().keepalive_timeout()
        if self.transport.is_closing():
            self._end()

    def eof_received(self) -> None:
        """Note that the peer sends nothing more: the transport closes itself after this."""
        super().eof_received()
        self.end_within(self.close_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the transport: the connection has ended."""
        super().connection_lost(exc)
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def limit_close(self) -> None:
        """See to it that a connection ends soon whose close has begun."""
        if self.close_sent or self.transport.is_closing():
            # Of a client whose bytes are not read any more no answer can come.
            self.end_within(_CLOSE_SECONDS if self._has_stopped else self.close_timeout)

    def end_within(self, seconds: float) -> None:
        """End the connection in so many seconds, unless it has ended by then, or will."""
        due = self.loop.time() + seconds
        if self.disconnected or (self._limit is not None and self._limit.when() <= due):
            return
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """End the connection in the next loop turn. What the peer has not taken is dropped."""
        if not self.transport.is_closing():
            self.transport.close()
        # Where all is written, the close takes one turn, and the peer gets what was written.
        self.loop.call_soon(self._cut_off)

    def _cut_off(self) -> None:
        if not self.disconnected:
            abort_transport(self.transport)
