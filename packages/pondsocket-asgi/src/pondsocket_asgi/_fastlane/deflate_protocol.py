"""uvicorn's WebSockets with less between the socket and the app; permessage-deflate is negotiated.

Handshakes, control frames, limits, close codes and rare cases are left to uvicorn and websockets,
from which this inherits. Three paths that run many times a second are replaced:

* a text that the app has framed once for all its recipients: `scope["extensions"]` has a lane;
* whole, plain messages of the peer, which are cut out of what the socket gave. All other bytes go
  through the parser of websockets. Messages may bypass the parser only while it is between two
  messages; so those bytes are followed, frame by frame, until it is;
* the queue of messages to the app: a list in place of an asyncio.Queue, and reading is paused when
  much is waiting, not at each message.

Pings, pongs and small fragments still go through uvicorn, which takes any number of them, and waits
for ever for a peer to take what was written before a close. Here both have bounds
(`.bounded_protocol`).

It depends on internals of its base class. The import checks that these are there.
"""

import asyncio
from importlib.metadata import version
from typing import Any, Final

import uvicorn
from pondsocket_common import CloseCode, websocket_frame
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request
from websockets.protocol import Protocol as WebSocketProtocol
from websockets.protocol import State

from pondsocket_asgi._scope import FAST_LANE

from .bounded_protocol import TOO_MANY, BoundedProtocol
from .frame_boundaries import FrameBoundaries
from .lane import Lane, end_lane, nowhere
from .received import Received
from .serving import Serving

_CLOSE: Final = 0x88
_HEAD_OF_REQUEST: Final = b"\r\n\r\n"

# What this overrides or uses of the base class, and of the class of websockets below it.
_METHODS: Final = frozenset(
    {"connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing"}
    | {"data_received", "handle_connect", "handle_close", "handle_parser_exception", "receive"}
    | {"handle_bytes", "handle_cont", "handle_ping", "handle_pong", "handle_text"}
    | {"keepalive_timeout", "run_asgi", "send", "send_500_response", "send_keepalive_ping"}
    | {"send_receive_event_to_app", "shutdown"}
)
_ATTRIBUTES: Final = frozenset(
    {"close_sent", "close_timeout", "close_timer", "conn", "connections", "disconnected", "logger"}
    | {"handshake_complete", "handshake_initiated", "loop", "queue", "read_paused", "transport"}
    | {"initial_response", "pending_ping_payload", "ping_sent_at", "ping_timeout", "ping_timer"}
    | {"pong_timer", "writable"}
)
# A method that the base class only inherits from this one does not count.
_NO_USE: Final = asyncio.Protocol
_BELOW: Final = frozenset({"debug", "extensions", "parser", "parser_exc", "state"})


class DeflateProtocol(BoundedProtocol):
    """One WebSocket connection of uvicorn's, compressed where its peer offers it."""

    # The base class's, which this assigns, too.
    queue: asyncio.Queue[ASGIReceiveEvent]
    read_paused: bool

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Besides `receive`, which is overridden, the base class only calls `put_nowait`.
        self.queue = self._received = Received()  # type: ignore[assignment]
        self._most_messages = max(1, config.ws_max_queue)
        self._largest = config.ws_max_size
        self._boundaries: FrameBoundaries | None = None
        self._lane = Lane(nowhere)
        self._is_certain = False
        self._is_direct = False
        self._is_plain = False
        self._is_clear = False

    # --- what opens and closes the lane, and the direct path of messages from the peer ----------

    def _settle(self) -> None:
        """Update what is allowed. Called after everything that may have changed it."""
        # True between the answer to the handshake and the first close frame of either side.
        lives = self.conn.state is State.OPEN and not self.transport.is_closing()
        self._is_direct = (
            lives and self._is_certain and not self._has_stopped and not self._received.rest
        )
        self._lane.is_open = lives and self._is_clear and self.writable.is_set()
        if not lives:
            self.limit_close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the lane, now that the transport is there."""
        super().connection_made(transport)
        Serving.release_http(self.transport)
        self._lane.write = self.transport.write
        # The transport may have served HTTP requests before. If their responses still fill it, it
        # has called `pause_writing` on another protocol, and does not call it again.
        low, _ = self.transport.get_write_buffer_limits()
        self._is_clear = self.transport.get_write_buffer_size() <= low

    def handle_connect(self, event: Request) -> None:
        """Start the app's task, and put the lane into its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            # In time: the app's task begins one loop turn later.
            self.scope["extensions"][FAST_LANE] = self._lane  # type: ignore[assignment]
            # With debug logging all frames take uvicorn's path, so that all are in the log.
            self._is_certain &= not self.conn.debug and all(
                isinstance(extension, PerMessageDeflate) for extension in self.conn.extensions
            )
            self._is_plain = not self.conn.debug and not self.conn.extensions
        else:
            self._settle()

    def pause_writing(self) -> None:
        """Close the lane: the peer is behind."""
        super().pause_writing()
        self._lane.is_open = False

    def resume_writing(self) -> None:
        """Open the lane again: the peer has caught up."""
        super().resume_writing()
        self._settle()

    def handle_close(self, event: Any) -> None:
        """Handle a close frame of the peer."""
        super().handle_close(event)
        self._settle()

    def handle_parser_exception(self) -> None:
        """Handle a violation of the protocol by the peer."""
        super().handle_parser_exception()
        self._settle()

    def keepalive_timeout(self) -> None:
        """Handle a ping that the peer has not answered in time."""
        super().keepalive_timeout()
        self._settle()

    def shutdown(self) -> None:
        """Close the connection, because the server ends."""
        self._take_all()
        super().shutdown()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the transport and the parser: the connection has ended."""
        self._take_all()
        super().connection_lost(exc)
        self._settle()
        end_lane(self._lane)
        # The parser is a generator of the object that holds it, and the traceback of the exception
        # that stopped it holds both: without this, only the garbage collector would free them.
        self.conn.parser.close()
        self.conn.parser_exc = None

    def send_500_response(self) -> None:
        """Answer that the app has failed, if nothing was answered."""
        if not self.conn.eof_sent:
            super().send_500_response()

    async def run_asgi(self) -> None:
        """Run the app. When it ends, the connection ends."""
        try:
            await super().run_asgi()
        finally:
            self._settle()

    def end_of_app(self) -> None:
        """End the connection, because the app has ended."""
        if self.close_timer is None:
            self.transport.close()
        self._settle()

    # --- out ------------------------------------------------------------------------------------

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of the app. This is the app's `send`."""
        if message["type"] == "websocket.send":
            text = message.get("text")
            if self._is_plain and text is not None and message.get("bytes") is None:
                lane = self._lane
                if lane.is_open:
                    lane.write(websocket_frame(text.encode()))
                    return
            await super().send(message)
            return
        try:
            await super().send(message)
        finally:
            if self.close_sent and self._received.rest:
                self._find_close()
            self._settle()

    # --- in -------------------------------------------------------------------------------------

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message for the app. This is the app's `receive`."""
        received = self._received
        messages = received.messages
        while not messages:
            await received.arrival(self.loop)
        message, size = messages.pop(0)
        received.held -= size
        self.note_taken()
        return message

    def note_taken(self) -> None:
        """Note that the app has taken a message: there may be room to read on."""
        if self.read_paused and self._received.is_half_empty(self._most_messages):
            self._read_on()

    def send_receive_event_to_app(self) -> None:
        """Queue a message that came through the base class."""
        # The base class would pause reading here, unless reading is paused already.
        is_paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = is_paused
        self._bound()

    def data_received(self, data: bytes) -> None:
        """Process the bytes of one read of the socket."""
        if self._is_direct:
            self._take(data)
            return
        if self._received.rest:
            self._received.rest += data
            return
        if not self.handshake_complete:
            # uvicorn passes on the request alone, and the peer may send no frame before the answer.
            # Otherwise it is not known here where frames begin.
            self._is_certain = not self.handshake_initiated and data.find(_HEAD_OF_REQUEST) == len(
                data
            ) - len(_HEAD_OF_REQUEST)
        super().data_received(data)

    def ask_app_to_close(self) -> bool:
        """Ask the app to close the connection. False if there is no app that will."""
        self._settle()
        if self._lane.session is None:
            return False
        self._lane.session.close(CloseCode.RATE_LIMITED, TOO_MANY)
        return True

    def _take(self, data: bytes) -> None:
        """Queue whole, plain messages; pass the rest to the base class, one frame at a time."""
        position, end = 0, len(data)
        while position < end and self._is_direct:
            if self.is_full():
                self.keep(data[position:])
                break
            if self._boundaries is None:
                position = self._received.take_frames(data, position, self._largest)
                if position == end or self.is_full():
                    continue
                self._boundaries = FrameBoundaries()
            start, position = position, self._boundaries.on(data, position)
            if self._boundaries.has_ended:
                self._boundaries = None
            self.parse(data[start:position])
        self._bound()

    # --- what is read, and there is no room for -------------------------------------------------

    def is_full(self) -> bool:
        """Return whether so much waits for the app that what was read is to be kept unparsed."""
        return self._received.is_full and not self.close_sent

    def keep(self, data: bytes) -> None:
        """Keep bytes that were read, until there is room."""
        self._received.rest = data
        self._is_direct = False

    def _read_on(self) -> None:
        """Parse what was kept; if there is room for all of it, read on."""
        if self._received.rest:
            rest = self._received.take_rest()
            self._settle()
            self.data_received(rest)
        if not self._received.rest and not self._has_enough():
            self.read_paused = False
            self.resume_reading()

    def _take_all(self) -> None:
        """Parse all that was kept: the connection ends, and the app is told so after it."""
        if self._received.rest:
            rest = self._received.take_rest()
            position = 0
            if self._is_certain and self._boundaries is None:
                position = self._received.take_frames(rest, 0, self._largest, is_last=True)
            if position < len(rest):
                self.parse(rest[position:])

    def _find_close(self) -> None:
        """Parse what was kept from the peer's close frame on: the app takes nothing any more."""
        rest = self._received.take_rest()
        start = position = 0
        if self._is_certain:
            boundaries = FrameBoundaries()
            while position < len(rest) and rest[position] != _CLOSE:
                start, position = position, boundaries.on(rest, position)
            if position < len(rest) or not boundaries.is_inside_frame:
                start = position
        self.data_received(rest[start:])

    def _has_enough(self) -> bool:
        """Return whether so much waits for the app that no more is to be read."""
        return self._received.exceeds(self._most_messages)

    def _bound(self) -> None:
        """Pause reading if too much waits for the app."""
        if (
            not self.read_paused
            and (self._received.rest or self._has_enough())
            and not self._has_stopped
            and not self.close_sent
        ):
            self.read_paused = True
            self.transport.pause_reading()


def _missing(base: type[WebSocketsSansIOProtocol], below: type[object]) -> list[str]:
    """Return the names that this relies on, but that the two classes do not have."""
    return sorted(
        {name for name in _METHODS if getattr(base, name, None) is getattr(_NO_USE, name, None)}
        # Attributes that `__init__` sets, found without making an object.
        | (_ATTRIBUTES - set(base.__init__.__code__.co_names))
        | (_BELOW - set(below.__init__.__code__.co_names))
    )


if _lost := _missing(WebSocketsSansIOProtocol, WebSocketProtocol):
    raise ImportError(
        f"pondsocket_asgi.fastlane knows uvicorn 0.52.4 to 0.54 from the inside, and misses "
        f"{', '.join(_lost)} in uvicorn {uvicorn.__version__} with websockets "
        f"{version('websockets')}: start it with `--ws websockets-sansio`, which serves the same."
    )
