"""One client in memory."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
from pondsocket_common import (
    POND,
    ClientActions,
    ClientCodec,
    ClientMessage,
    CloseCode,
    Codec,
    Headers,
    Payload,
    Position,
    PresenceMode,
    QueryParams,
    ServerMessage,
    decode_server,
    fresh_id,
)

from pondsocket._connection.session import Session
from pondsocket._delivery.dropping import leeway, make_room
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._errors import UsageError
from pondsocket._runtime.tasks import Tasks
from pondsocket._server import PondSocket
from pondsocket._state.request import ConnectRequest, Refusal, Transport


# A broadcast to a thousand peers is one frame: decode it once.
@lru_cache(maxsize=1_024)
def _decoded(decode: Callable[[bytes], ServerMessage], encoded: bytes) -> ServerMessage:
    return decode(encoded)


_decode_own = partial(decode_server, is_own=True)


def _with_client_side(codec: Codec) -> ClientCodec:
    if not isinstance(codec, ClientCodec):
        raise UsageError(
            f"A client in memory needs encode_client and decode_server: codec {codec.name!r}."
        )
    return codec


class ConnectionRefused(Exception):  # noqa: N818 - an answer, not a failure of the test
    """The connection was not admitted.

    Attributes:
        code: The status.
        message: What the client is told.
        headers: The headers of the response that say why, and the application's own.
        body: The body of the response, where there is one.
        refusal: The refusal as the pond has made it.
    """

    def __init__(
        self, url: str, refusal: Refusal, *, headers: Headers | None = None, body: bytes = b""
    ) -> None:
        name = f" {refusal.error}:" if refusal.error else ""
        told = f"{refusal.status}{name} {refusal.message}"
        super().__init__(f"The connection to {url!r} was refused: {told}")
        self.code: int = refusal.status
        self.message: str = refusal.message
        self.headers: Headers = Headers(refusal.response_headers()) if headers is None else headers
        self.body = body
        self.refusal = refusal


class MemoryPeer:
    """One connected client. It is an `Outlet` that queues frames until the test receives them.

    It speaks the session's wire format.

    Args:
        capacity: How many unread frames it may hold before it counts as a slow consumer. A lobby's
            `slow_consumers` applies as to a real connection.

    Attributes:
        headers: The headers that the application has set for the answer.

    Raises:
        UsageError: The session's codec is no `ClientCodec`.
    """

    def __init__(self, session: Session, *, capacity: int = 100_000) -> None:
        self.session = session
        self.headers: Headers = Headers(session.answer_headers)
        self.capacity = capacity
        self._codec = _with_client_side(session.codec)
        self._frames: deque[Frame] = deque()
        self._has_dropped = False
        self._waiting: deque[Callable[[], None]] = deque()
        self.closed: CloseCode | None = None
        self.reason: str = ""
        self.aborted: bool = False
        self._outgoing: deque[str | bytes | None] = deque()
        self._changed: anyio.Event | None = None

    # --- the server's side (Outlet, and the `pull` of `Session.run`) --------------------------

    @property
    def pending(self) -> int:
        """How many messages are unread."""
        return len(self._frames)

    def offer(self, frame: Frame) -> bool:
        """Queue a frame. False if it is full or closed."""
        if self.closed is not None or not self._has_room_for(frame):
            return False
        self._frames.append(frame)
        self._notify()
        return True

    def offer_batch(self, batch: Batch) -> bool:
        """Queue several frames. False if not all of them were accepted."""
        return all(map(self.offer, batch.frames))

    def _has_room_for(self, frame: Frame) -> bool:
        excess = len(self._frames) + 1 - self.capacity
        if excess <= leeway(frame, self.capacity):
            return True
        dropped = make_room(self._frames, frame, excess, 0).frames
        if dropped:
            self._has_dropped = True
            self.session.dropped(dropped)
        return dropped >= excess

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:  # noqa: ARG002
        """Return False if half of the capacity is free. Otherwise True; call back when it is."""
        if self.closed is not None or 2 * len(self._frames) < self.capacity:
            return False
        self._waiting.append(callback)
        return True

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Note that the connection is closed. Unread frames are kept, even with `abort`."""
        if self.closed is None:
            if goodbye is not None:
                self._frames.append(goodbye)
            self.closed = code
            self.reason = reason
            self.aborted = abort
            self._notify()

    async def pull(self) -> str | bytes | None:
        """Return the next message of the client; None if it has disconnected."""
        while not self._outgoing:
            await self.changed()
        return self._outgoing.popleft()

    async def changed(self) -> None:
        """Wait until either side has sent something, or the connection is closed."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # --- the client's side --------------------------------------------------------------------

    @property
    def unread(self) -> list[ServerMessage]:
        """The messages that have come and were not received yet, oldest first."""
        return [self._decode(frame) for frame in self._frames]

    def _decode(self, frame: Frame) -> ServerMessage:
        decode = _decode_own if self._codec is POND else self._codec.decode_server
        return _decoded(decode, frame.encoded)

    def _take(self, place: int = 0) -> ServerMessage:
        frame = self._frames[place]
        del self._frames[place]
        while self._waiting and 2 * len(self._frames) < self.capacity:
            self._waiting.popleft()()
        if self._has_dropped and not self._frames:
            self._has_dropped = False
            self.session.caught_up()
        return self._decode(frame)

    def send_raw(self, data: str | bytes) -> None:
        """Send a frame as it is, valid or not."""
        self._outgoing.append(data)
        self._notify()

    def send(
        self,
        action: ClientActions | str,
        channel_name: str,
        event: str,
        payload: Payload | None = None,
        *,
        request_id: str | None = None,
        presence: PresenceMode | None = None,
        since: Position | None = None,
        confirm: bool = False,
    ) -> str:
        """Send a message. Return its request id.

        Args:
            confirm: Ask that an event is answered even if its handler has no reply.
        """
        request_id = request_id or fresh_id()
        message = ClientMessage(
            ClientActions(action),
            event,
            channel_name,
            request_id,
            payload or {},
            since=since,
            presence=presence,
            confirm=confirm,
        )
        self.send_raw(self._codec.encode_client(message))
        return request_id

    def vanish(self) -> None:
        """Disconnect without a close."""
        self._outgoing.append(None)
        self._notify()

    async def receive(self, *, wait: float = 1.0) -> ServerMessage:
        """Return the next message from the server.

        Raises:
            TimeoutError: None came within `wait` seconds, or the connection was closed.
        """
        with anyio.move_on_after(wait):
            while not self._frames and self.closed is None:
                await self.changed()
        if not self._frames:
            state = "is open" if self.closed is None else f"was closed with {self.closed!r}"
            raise TimeoutError(f"No message within {wait} s; the connection {state}.")
        return self._take()

    async def receive_event(self, event: str, *, wait: float = 1.0) -> ServerMessage:
        """Return the next message with this event. Drop those before it.

        Raises:
            TimeoutError: None came in time; the error names what came instead.
        """
        seen: list[str] = []
        while True:
            try:
                message = await self.receive(wait=wait)
            except TimeoutError as exc:
                raise TimeoutError(f"No {event}; instead came {seen}. {exc}") from None
            if message.event == event:
                return message
            seen.append(f"{message.action}/{message.event}")

    def drain(self) -> list[ServerMessage]:
        """Receive and return all messages that have come."""
        return [self._take() for _ in range(len(self._frames))]

    async def wait_closed(self, *, wait: float = 1.0) -> CloseCode:
        """Wait until the connection is closed. Return the code.

        Raises:
            TimeoutError: It is still open after `wait` seconds.
        """
        with anyio.move_on_after(wait):
            while self.closed is None:
                await self.changed()
        if self.closed is None:
            raise TimeoutError(f"The connection is open after {wait} s; unread: {self.unread}.")
        return self.closed

    async def join(
        self,
        channel_name: str,
        params: Payload | None = None,
        *,
        presence: PresenceMode | None = None,
        since: Position | None = None,
        wait: float = 1.0,
    ) -> ServerMessage:
        """Ask to join a channel. Return the answer, whether accepted or refused."""
        action = ClientActions.JOIN_CHANNEL
        request_id = self.send(action, channel_name, "join", params, presence=presence, since=since)
        return await self.answer(request_id, wait=wait)

    async def answer(self, request_id: str, *, wait: float = 1.0) -> ServerMessage:
        """Return the next message that answers a request. The others stay unread.

        Raises:
            TimeoutError: None came within `wait` seconds.
        """
        with anyio.move_on_after(wait):
            while True:
                for place, frame in enumerate(self._frames):
                    if self._decode(frame).request_id == request_id:
                        return self._take(place)
                await self.changed()
        raise TimeoutError(f"No answer to {request_id} within {wait} s; unread: {self.unread}.")


@asynccontextmanager
async def connect(
    pond: PondSocket,
    url: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    address: str | None = "127.0.0.1",
    port: int | None = 50000,
    transport: Transport = "websocket",
    capacity: int = 100_000,
    codec: ClientCodec | None = None,
    subprotocols: Iterable[str] = (),
    scope: Mapping[str, Any] | None = None,
) -> AsyncIterator[MemoryPeer]:
    """Connect a client to a path with a query, such as `/socket?token=secret`.

    Another task may end the block, and several may end in any order: so it can be a fixture of any
    test runner.

    Args:
        codec: The wire format that the client asks for: a WebSocket by the subprotocol, an event
            stream by `?codec=`. None: it asks for none.
        subprotocols: What a WebSocket client offers besides the codec.
        scope: What a host would put into the ASGI scope, for `ctx.scope`.

    Raises:
        ConnectionRefused: The pond did not admit the connection.
        UsageError: The endpoint does not speak this codec.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    offered = tuple(subprotocols)
    if codec is not None and transport == "websocket":
        offered = (codec.name, *offered)
    elif codec is not None:
        pairs.append(("codec", codec.name))
    outcome = await pond.connect(
        ConnectRequest(
            parts.path,
            Headers(headers),
            QueryParams(pairs),
            address,
            transport,
            offered,
            MappingProxyType({**(scope or {})}),
            None if address is None else port,
        )
    )
    if isinstance(outcome, Refusal):
        raise ConnectionRefused(url, outcome)
    if codec is not None and outcome.codec is not codec:
        raise UsageError(f"{parts.path} does not speak {codec.name!r}: create_endpoint(codecs=…).")
    peer = MemoryPeer(outcome, capacity=capacity)
    try:
        async with Tasks() as tasks:
            tasks.start_soon(outcome.run, peer, peer.pull)
            while not peer.pending and peer.closed is None:
                await peer.changed()
            try:
                yield peer
            finally:
                peer.vanish()
    except BaseExceptionGroup as group:
        # A failed assertion should be raised as such, also inside several of these.
        if len(group.exceptions) != 1:
            raise
        (error,) = group.exceptions
        raise error from error.__cause__
