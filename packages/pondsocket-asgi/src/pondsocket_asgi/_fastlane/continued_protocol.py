"""A connection of `Protocol`, from where it needs a parser of websockets, or has to end."""

import asyncio

from uvicorn._types import ASGISendEvent, WebSocketScope
from uvicorn.protocols.utils import ClientDisconnected
from websockets.protocol import State

from .deflate_protocol import DeflateProtocol
from .lane import Lane
from .received import Received
from .small_frames import SmallFrames


class ContinuedProtocol(DeflateProtocol):
    """One WebSocket connection of uvicorn's that another protocol has begun.

    It compresses nothing, and does not run the app: `take_over` is called at once.
    """

    def take_over(
        self,
        parts: tuple[asyncio.Transport, Lane, Received, SmallFrames | None],
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
