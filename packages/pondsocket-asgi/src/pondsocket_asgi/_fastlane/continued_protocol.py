"""A connection of `Protocol`, from where it needs a parser of websockets, or has to end."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self, TypeAlias

from uvicorn._types import ASGISendEvent, WebSocketScope
from uvicorn.protocols.utils import ClientDisconnected
from websockets.protocol import State

from pondsocket_asgi._process.servers import abort_transport

from .deflate_protocol import DeflateProtocol
from .lane import Lane, end_lane
from .plain_frames import CloseFrame, close_of, read_close
from .received import Received
from .serving import Serving
from .small_frames import SmallFrames

_Parts: TypeAlias = tuple[asyncio.Transport, Lane, Received, SmallFrames | None]
# As uvicorn's.
_CLOSE_SECONDS: Final = 10.0


class ContinuedProtocol(DeflateProtocol):
    """One WebSocket connection of uvicorn's that another protocol has begun.

    It compresses nothing, and does not run the app: `take_over` is called at once.
    """

    def take_over(
        self,
        parts: _Parts,
        *,
        scope: WebSocketScope | None,
        is_behind: bool,
        read_paused: bool,
    ) -> None:
        """Go on with a connection, from between two messages of its peer.

        Args:
            parts: What both have.
            scope: Of a connection that the app has not answered yet, and is about to refuse. None:
                it is open, and no extensions were negotiated.
            is_behind: Whether the peer is.
        """
        self.transport, self._lane, self._received, self._small = parts
        self.queue = self._received  # type: ignore[assignment]
        self.connections.add(self)
        self.read_paused = read_paused
        if is_behind:
            self.writable.clear()
        self.handshake_initiated = True
        if scope is None:
            # As `ServerProtocol(state=State.OPEN)`, without making a second one.
            self.conn.parser.close()
            self.conn.state = State.OPEN
            self.conn.parser = self.conn.parse()
            next(self.conn.parser)
            self.handshake_complete = True
            self._is_certain = self._is_plain = self._is_clear = True
            self._settle()
        else:
            self.scope = scope

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of the app."""
        if not self.handshake_complete and self.transport.is_closing():
            # The server has answered for the app, because it ends.
            raise ClientDisconnected
        await super().send(message)

    def go_on_pinging(self, unanswered: bytes | None, seconds: float) -> None:
        """Ping the peer as another protocol has begun to.

        Args:
            unanswered: The last ping, if it waits for its answer.
            seconds: For how long still, or else until the next ping.
        """
        if unanswered is not None and self.ping_timeout is not None:
            self.pending_ping_payload = unanswered
            self.ping_sent_at = self.loop.time() + seconds - self.ping_timeout
            self.pong_timer = self.loop.call_later(seconds, self.keepalive_timeout)
        else:
            self.ping_timer = self.loop.call_later(seconds, self.send_keepalive_ping)

    def go_on_closing(self, close: CloseFrame, due: float) -> None:
        """Wait for the peer's close frame, where ours has been written.

        The caller closes the transport when it has come.

        Args:
            due: When the connection is to end at the latest, on the clock of the loop.
        """
        self.conn.send_close(close.code, close.reason)
        self.conn.data_to_send()
        self.close_sent = True
        self.end_within(max(0.0, due - self.loop.time()))
        self._settle()


class PlainClose:
    """The end of a connection of `Protocol`, as nearly all end: one close frame from each side.

    To make a parser of websockets for it would be a quarter of all that the end costs. It is made
    if anything else comes.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_is_behind",
        "_is_lost",
        "_is_ours",
        "_parts",
        "_serving",
        "_successor",
        "_timer",
    )

    def __init__(
        self, serving: Serving, parts: _Parts, close: CloseFrame, *, is_ours: bool
    ) -> None:
        transport, lane, received, _ = parts
        self._serving = serving
        self._parts = parts
        self._close = close
        self._is_ours = is_ours
        self._is_behind = self._is_lost = False
        self._successor: ContinuedProtocol | None = None
        # The peer may answer with nothing, or not take what was written.
        self._timer = serving.loop.call_later(_CLOSE_SECONDS, self._end)
        received.put(
            {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}, 0
        )
        lane.write(close.wire)
        lane.is_open = False
        if not is_ours:
            transport.close()

    @classmethod
    def of(cls, serving: Serving, parts: _Parts, close: Mapping[str, Any] | bytes) -> Self | None:
        """Close an open connection. None if that takes a parser; then nothing is done.

        Args:
            close: The app's `websocket.close`, or what the peer has sent.
        """
        frame = read_close(close) if isinstance(close, bytes) else close_of(close)
        if frame is None or parts[0].is_closing():
            return None
        return cls(serving, parts, frame, is_ours=not isinstance(close, bytes))

    def _hand_over(self) -> ContinuedProtocol:
        """Have a parser do the rest."""
        if self._successor is None:
            due = self._timer.when()
            self._timer.cancel()
            self._successor = successor = self._serving.protocol(ContinuedProtocol)
            successor.take_over(
                self._parts, scope=None, is_behind=self._is_behind, read_paused=False
            )
            successor.go_on_closing(self._close, due)
        return self._successor

    def _end(self) -> None:
        """End the connection: it has taken too long."""
        transport = self._parts[0]
        transport.close()
        # Where all is written, the close takes one turn, and the peer gets what was written.
        self._serving.loop.call_soon(self._cut_off)

    def _cut_off(self) -> None:
        if not self._is_lost:
            abort_transport(self._parts[0])

    # --- what `Protocol` passes on ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take the close frame of the peer."""
        transport = self._parts[0]
        if not data or transport.is_closing():
            return
        has_come = self._successor is None and read_close(data) is not None
        if not has_come:
            successor = self._hand_over()
            successor.data_received(data)
            has_come = successor.conn.close_rcvd is not None
        if has_come:
            transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Refuse a message of the app, as uvicorn does after a close frame.

        Raises:
            ClientDisconnected: The peer has closed the connection, or it has ended.
            RuntimeError: The app has closed it.
        """
        kind: str = message["type"]
        if self._is_lost or (kind == "websocket.send" and not self._is_ours):
            raise ClientDisconnected
        if self._is_ours:
            raise RuntimeError(
                f"Unexpected ASGI message '{kind}', after sending 'websocket.close'."
            )
        if kind != "websocket.close":
            raise RuntimeError(
                f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'."
            )

    def note_taken(self) -> None:
        """Note that the app has taken a message."""
        if self._successor is not None:
            self._successor.note_taken()

    def pause_writing(self) -> None:
        """Note that the peer is behind."""
        self._is_behind = True
        if self._successor is not None:
            self._successor.pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._is_behind = False
        if self._successor is not None:
            self._successor.resume_writing()

    def end_of_app(self) -> None:
        """Note that the app has ended: the connection ends already."""

    def eof_received(self) -> None:
        """Note that the peer sends nothing more: the transport closes itself after this."""

    def shutdown(self) -> None:
        """Wait for the peer no longer, because the server ends."""
        self._parts[0].close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the transport: the connection has ended."""
        self._is_lost = True
        self._timer.cancel()
        if self._successor is not None:
            self._successor.connection_lost(exc)
            return
        _, lane, received, _ = self._parts
        received.put({"type": "websocket.disconnect", "code": 1005}, 0)
        end_lane(lane)
