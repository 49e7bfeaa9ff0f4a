"""One WebSocket connection of uvicorn's, with as little as possible for each.

What nearly every connection does all the time is done here: the handshake, whole and plain
messages, pings, and with `PlainClose` a close. For anything else a class takes over that inherits
from uvicorn's own and has a parser of websockets: fragments, invalid frames, messages that are too
large, more than the app has room for, a refusal, an end in the middle of something. So close codes
and limits are the same. A connection that was taken over stays so.

Most of what letting a client in costs is memory that is touched and code that is run for the first
time, so both are kept small: the request is read once, and no object is made before it is needed.
`python -m tests.benchmarks` has it as `ours-lane`: "Connect and join", "Memory of an idle member",
"Echo".
"""

import asyncio
from collections.abc import Callable
from logging import DEBUG
from random import getrandbits
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from .continued_protocol import ContinuedProtocol, PlainClose
from .deflate_protocol import DeflateProtocol
from .lane import Lane, end_lane, nowhere
from .plain_frames import IS_MEDIUM, PING, PONG, SHORT, TEXT, end_of_control, frame_of, is_part
from .received import MOST_EARLY, Received, apply_mask, takes_nothing
from .serving import Opening, Serving, Stage, check_refusal, is_behind, may_hold_data
from .small_frames import SmallFrames
from .upgrade import read_upgrade

# By names of their own, as in `_transport.writer`.
_NEW: Final = Stage.NEW
_ASKED: Final = Stage.ASKED
_OPEN: Final = Stage.OPEN
_LOST: Final = Stage.LOST


class Protocol(asyncio.Protocol):
    """One WebSocket connection of uvicorn's. It does not compress.

    Attributes:
        transport: The server's.
        step: See `Keepalive`.
    """

    __slots__ = (
        "__weakref__",
        "_head",
        "_is_behind",
        "_is_direct",
        "_lane",
        "_opening",
        "_ping",
        "_read_paused",
        "_received",
        "_serving",
        "_small",
        "_stage",
        "_successor",
        "step",
        "transport",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        loop = _loop or asyncio.get_event_loop()
        self._serving = Serving.of(config, server_state, app_state, loop)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.step: int = -1
        self._stage = _NEW
        self._opening: Opening = None  # type: ignore[assignment]  # while the app is asked
        self._received = Received()
        self._lane = Lane(nowhere, Protocol.receive)
        self._head = b""  # the answer to the handshake, until it is written
        self._successor: DeflateProtocol | PlainClose | None = None  # what has taken over
        self._is_direct = False  # whether what is read begins with a frame, for this to take
        self._is_behind: asyncio.Event | None = None  # set when the peer has caught up
        self._read_paused = False
        self._small: SmallFrames | None = None
        self._ping: bytes | None = None  # which the peer has not answered

    @property
    def ping_interval(self) -> float | None:
        """How often the peer is pinged, in seconds."""
        keepalive = self._serving.keepalive
        return None if keepalive is None else keepalive.interval

    # --- the handshake --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport. It may have served HTTP requests before."""
        self.transport = transport  # type: ignore[assignment]
        self._serving.release_http(self.transport)
        self._serving.state.connections.add(self)  # type: ignore[arg-type]

    def _open(self, request: bytes) -> None:
        """Start the app for a request; anything but a plain one is left to `DeflateProtocol`."""
        serving = self._serving
        # With debug logging all frames take uvicorn's path, so that all are in the log. A transport
        # that is behind with earlier responses has told so another protocol than this.
        is_odd = serving.logger.isEnabledFor(DEBUG) or is_behind(self.transport)
        upgrade = None if is_odd else read_upgrade(request)
        if upgrade is None:
            self._hand_over_request(request)
            return
        scope = serving.scope(upgrade, self.transport, self._lane)
        self._opening = Opening(upgrade.key, scope)
        self._stage = _ASKED
        self._received.put({"type": "websocket.connect"}, 0)
        serving.start(self.run_asgi())

    def _hand_over_request(self, request: bytes) -> None:
        """Have `DeflateProtocol` do everything, the handshake too."""
        serving = self._serving
        serving.state.connections.discard(self)
        self._successor = successor = serving.protocol(DeflateProtocol)
        self._stage = _OPEN
        # uvicorn sets this object as the transport's protocol when this returns. So it stays there,
        # and passes everything on.
        successor.connection_made(self.transport)
        successor.data_received(request)

    def _accept(self, message: Any) -> None:
        """Answer the request."""
        serving, transport = self._serving, self.transport
        head = serving.answer(self._opening, message)
        if transport.is_closing():
            return
        self._opening = None  # type: ignore[assignment]
        self._stage = _OPEN
        self._is_direct = self._lane.is_open = True
        if transport.get_write_buffer_size():
            self._lane.write = transport.write
            transport.write(head)
        else:
            # The first message may leave with it.
            self._head = head
            self._lane.write = self._write_head
            serving.loop.call_soon(self._write_head)
        if serving.keepalive is not None:
            serving.keepalive.expect_ping(self)
        if self._received.rest:
            if self._read_paused:
                self._read_paused = False
                transport.resume_reading()
            self._take(self._received.take_rest())

    def _write_head(self, frames: bytes = b"") -> None:
        """Write the answer to the request, if that is to be done, and frames behind it."""
        if (self._head or frames) and self._stage is not _LOST:
            head, self._head = self._head, b""
            write = self._lane.write = self.transport.write
            write(head + frames)

    # --- what another class does ----------------------------------------------------------------

    def _hand_over(self) -> DeflateProtocol:
        """Have `DeflateProtocol` go on from here, where nothing has taken over yet."""
        self._write_head()
        self._successor = successor = self._serving.protocol(ContinuedProtocol)
        is_open = self._stage is _OPEN
        scope: Any = None if is_open else self._opening.scope
        rest = self._received.take_rest()
        self._serving.state.connections.discard(self)
        self._is_direct = False
        successor.take_over(
            (self.transport, self._lane, self._received, self._small),
            scope=scope,
            is_behind=self._is_behind is not None,
            read_paused=self._read_paused,
        )
        keepalive = self._serving.keepalive
        if keepalive is not None and is_open:
            successor.go_on_pinging(self._ping, keepalive.seconds_left(self))
            keepalive.remove(self)
        self._small = self._ping = None
        if rest and is_open:
            successor.data_received(rest)
        return successor

    def _close(self, close: Any) -> bool:
        """Write the close frame of the app, or answer the peer's. False if that takes a parser."""
        if self._is_direct and not self._read_paused and self._is_behind is None:
            parts = (self.transport, self._lane, self._received, self._small)
            self._successor = PlainClose.of(self._serving, parts, close)
            self._is_direct = self._successor is None
        return self._successor is not None

    def shutdown(self) -> None:
        """Close the connection, because the server ends. uvicorn calls this."""
        (self._successor or self._hand_over()).shutdown()

    def eof_received(self) -> None:
        """Note that the peer sends nothing more: the transport closes itself after this."""
        self._write_head()
        if self._successor is not None or may_hold_data(self.transport):
            (self._successor or self._hand_over()).eof_received()
        self._lane.is_open = False

    def ping_or_end(self) -> None:
        """Ping the peer, or end the connection if it has not answered the last ping."""
        keepalive = self._serving.keepalive
        if keepalive is None or self._successor is not None or self.transport.is_closing():
            return
        if self._ping is not None and keepalive.timeout is not None:
            self._ping = None
            self._hand_over().keepalive_timeout()
            return
        self._ping = ping = getrandbits(32).to_bytes(4)
        self._lane.write(bytes((PING, len(ping))) + ping)
        keepalive.expect_answer(self)

    # --- the transport --------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Close the lane: the peer is behind."""
        self._lane.is_open = False
        self._is_behind = asyncio.Event()
        if self._successor is not None:
            self._successor.pause_writing()

    def resume_writing(self) -> None:
        """Open the lane again: the peer has caught up."""
        self._catch_up()
        if self._successor is not None:
            self._successor.resume_writing()
        elif self._stage is _OPEN and not self.transport.is_closing():
            self._lane.is_open = True

    def _catch_up(self) -> None:
        if self._is_behind is not None:
            self._is_behind.set()
            self._is_behind = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the transport: the connection has ended."""
        stage, self._stage = self._stage, _LOST
        self._is_direct = False
        self._head = b""
        self._catch_up()
        serving = self._serving
        serving.state.connections.discard(self)
        if serving.keepalive is not None:
            serving.keepalive.remove(self)
        if self._successor is not None:
            self._successor.connection_lost(exc)
            return
        self._received.rest = b""
        code = 1005 if stage is _OPEN else 1006
        self._received.put({"type": "websocket.disconnect", "code": code}, 0)
        end_lane(self._lane)

    # --- the app --------------------------------------------------------------------------------

    async def run_asgi(self) -> None:
        """Run the app. When it ends, the connection ends."""
        logger = self._serving.logger
        try:
            # No variable holds the scope: it would live as long as the connection.
            result = await self._serving.app(self._opening.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            logger.exception("Exception in ASGI application\n")
            self._fail()
        else:
            if self._stage is _ASKED and self._fail():
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
        self._received.take_now = takes_nothing
        if self._stage is _LOST:
            return
        self._write_head()
        if self._successor is not None or may_hold_data(self.transport):
            (self._successor or self._hand_over()).end_of_app()
        else:
            self._lane.is_open = self._is_direct = False
            self.transport.close()

    def _fail(self) -> bool:
        """Answer that the app has failed, if it has not answered. False if it has."""
        successor = self._successor
        # Only an open connection ends in a plain close.
        if self._stage is not _ASKED or isinstance(successor, PlainClose):
            return False
        if successor is None:
            successor = self._hand_over()
        has_answered = successor.handshake_complete or successor.initial_response is not None
        successor.send_500_response()
        return not has_answered

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of the app. This is the app's `send`."""
        if self._is_behind is not None and self._successor is None:
            await self._is_behind.wait()
        if self._successor is None:
            if self._stage is _LOST:
                raise ClientDisconnected
            kind = message["type"]
            if self._stage is _OPEN:
                if kind == "websocket.send":
                    if frame := frame_of(message):
                        self._lane.write(frame)
                    return
                if kind == "websocket.close" and self._close(message):
                    return
            elif kind == "websocket.accept":
                self._accept(message)
                return
            else:
                check_refusal(message)
        await (self._successor or self._hand_over()).send(message)

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message for the app. This is the app's `receive`."""
        received = self._received
        messages = received.messages
        while not messages:
            await received.arrival(self._serving.loop)
        message, size = messages.pop(0)
        received.held -= size
        if self._successor is not None:
            self._successor.note_taken()
        elif self._read_paused and received.is_half_empty(self._serving.most_messages):
            self._read_paused = False
            self.transport.resume_reading()
        return message

    def lend(self, most_bytes: int | None, take_now: Callable[[str], bool]) -> None:
        """Have `take_now` take the texts of up to so many bytes that come while `receive` waits."""
        self._received.take_now = take_now
        self._received.longest_now = self._serving.largest if most_bytes is None else most_bytes

    # --- what the peer sends --------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Process the bytes of one read of the socket."""
        if not self._is_direct:
            self._take_indirectly(data)
            return
        size = len(data)
        # One text and nothing else is what nearly all clients send
        # (`python -m tests.benchmarks`, "Echo").
        if (
            6 <= size <= self._serving.longest_single
            and data[0] == TEXT
            and (
                data[1] == size + 122  # 128, the mask's bit, + the size - 6 bytes of header
                if size <= SHORT + 6
                else data[1] == IS_MEDIUM and (data[2] << 8 | data[3]) == size - 8
            )
        ):
            body = 6 if size <= SHORT + 6 else 8
            try:
                text = apply_mask(data[body:], data[body - 4 : body]).decode()
            except UnicodeDecodeError:
                pass  # the parser closes the connection
            else:
                if not self._received.put_text(text, size, body):
                    self._bound()
                return
        self._take(data)

    def _take_indirectly(self, data: bytes) -> None:
        received = self._received
        if self._successor is not None:
            # What is sent before a refusal is no use, and would be parsed as a request.
            if self._stage is not _ASKED:
                self._successor.data_received(data)
        elif self._stage is _NEW:
            self._open(data)
        elif self._stage is _OPEN:
            self._is_direct = True
            self._take(received.take_rest() + data)
        elif self._stage is _ASKED:
            # The peer may not send any yet.
            received.rest += data
            if len(received.rest) > MOST_EARLY:
                self._pause_reading()

    def _take(self, data: bytes) -> None:
        """Queue whole, plain messages, and answer pings."""
        position, end = 0, len(data)
        received, largest = self._received, self._serving.largest
        while position < end and self._is_direct:
            position = received.take_frames(data, position, largest)
            if position < end:
                stop = 0 if received.is_full else self._take_control(data, position)
                if not stop:
                    self._take_rest(data[position:])
                    return
                position = stop
        if self._successor is None:
            self._bound()
        else:
            self._successor.data_received(data[position:])

    def _take_control(self, data: bytes, position: int) -> int:
        """Take a ping or a pong. Return where it ends; 0 if it is not whole, or something else."""
        if not (stop := end_of_control(data, position)):
            return 0
        opcode, body = data[position], position + 6
        payload = apply_mask(data[body:stop], data[body - 4 : body])
        keepalive = self._serving.keepalive
        if opcode == PONG and payload == self._ping and keepalive is not None:
            self._ping = None
            keepalive.expect_ping(self)
            return stop
        now = self._serving.loop.time()
        if self._small is None:
            self._small = SmallFrames(now)
        if not self._small.take_control(now):
            return 0  # one too many
        if opcode == PING:
            self._lane.write(bytes((PONG, len(payload))) + payload)
            if self._is_behind is not None:
                self._hand_over().await_client()
        return stop

    def _take_rest(self, rest: bytes) -> None:
        """Keep the beginning of a short frame; anything else is for the parser."""
        if not self._received.is_full and is_part(rest, self._serving.largest):
            self._received.rest = rest
            self._is_direct = False
            self._bound()
        elif self._received.is_full or not self._close(rest):
            self._hand_over().data_received(rest)

    def _bound(self) -> None:
        """Pause reading if too much waits for the app."""
        if self._received.exceeds(self._serving.most_messages):
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()
