"""The WebSocket transport: refuse or accept, then frames in and frames out."""

from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Final, Protocol, cast

import anyio
from pondsocket import Options
from pondsocket.adapter import Batch, BoundedQueue, Frame, Refusal, Session
from pondsocket_common import CloseCode

from pondsocket_asgi._process.refusals import note_refusal
from pondsocket_asgi._process.servers import (
    accept_headers,
    find_uvicorn,
    is_restart,
    ping_seconds,
    refusal_headers_of_websocket,
    unsent_bytes,
)
from pondsocket_asgi._scope import (
    FAST_LANE,
    Message,
    Receive,
    Scope,
    Send,
    connect_request,
    encoded,
    headers,
    refusal_headers,
    relative_path,
)
from pondsocket_asgi._sending.server_send import ServerSend

from .connection import Connection
from .heartbeat import Heartbeat
from .inline_send import PendingSend, Sending
from .shared import Shared
from .writer import Closing, PeerGone, logger, put

# RFC 6455, section 5.5: a control frame holds 125 bytes, two of which are the close code.
MAX_REASON_BYTES: Final = 123


async def open_websocket(
    shared: Shared, scope: Scope, receive: Receive, send: Send
) -> Connection | None:
    """Admit the client of a WebSocket scope. Return the transport to run; None if it is refused."""
    if (await receive())["type"] != "websocket.connect":
        return None
    outcome = await _admit(shared, scope)
    if isinstance(outcome, Refusal):
        note_refusal()
        await _refuse(outcome, scope, send)
        return None
    lane = (scope.get("extensions") or {}).get(FAST_LANE)
    transport = ASGIWebSocketTransport if lane is None else FastWebSocketTransport
    uvicorn = find_uvicorn(receive)
    return transport(
        scope,
        receive,
        shared.find_send(scope, send),
        outcome,
        shared.heartbeat,
        quiet_seconds=_quiet_seconds(shared.pond.options, ping_seconds(uvicorn)),
        on_restart=None if uvicorn is None else shared.begin_drain,
    )


async def _admit(shared: Shared, scope: Scope) -> Session | Refusal:
    """Check the origin, then let the endpoint decide."""
    request = connect_request(scope, "websocket")
    if isinstance(request, Refusal):
        path, named = relative_path(scope), headers(scope)
    else:
        path, named = request.path, request.headers
    refusal, _ = shared.origins.check(path, named)
    if refusal is not None:
        return refusal
    return request if isinstance(request, Refusal) else await shared.pond.connect(request)


def _quiet_seconds(options: Options, ping: float | None) -> float | None:
    """Return after how long without a write a heartbeat is due. None if the server pings enough."""
    heartbeat = options.heartbeat_seconds
    is_pinged = heartbeat is not None and ping is not None and ping <= heartbeat
    return None if is_pinged else heartbeat


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    try:
        if "websocket.http.response" in (scope.get("extensions") or {}):
            body = refusal.body()
            named = refusal_headers_of_websocket(tuple(refusal_headers(refusal, body)))
            await _start_response(refusal.status, list(named), send)
            await put(send, {"type": "websocket.http.response.body", "body": body})
        else:
            await put(send, _close_message(4000 + refusal.status, refusal.message))
    except PeerGone as gone:
        logger.debug("A peer left while it was refused: %r", gone.__cause__)


async def _start_response(status: int, named: list[tuple[bytes, bytes]], send: Send) -> None:
    start = {"type": "websocket.http.response.start", "status": status, "headers": named}
    try:
        await put(send, start)
    except PeerGone as gone:
        # uvicorn's older implementation (`--ws websockets`) sends only a status that Python has a
        # name for; 599 has none. RFC 9110, section 15: an unknown status counts as the first of its
        # class.
        if not isinstance(gone.__cause__, ValueError):
            raise
        await put(send, start | {"status": status // 100 * 100})


class Lane(Protocol):
    """What `pondsocket_asgi.fastlane` adds to a scope's extensions."""

    is_open: bool
    write: Callable[[bytes], object]
    session: Session | None


class ASGIWebSocketTransport(Connection):
    """One accepted WebSocket as a session's outlet."""

    __slots__ = ("_accepted", "_headers", "_is_accepted", "_max_message_bytes", "_on_restart")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: ServerSend,
        session: Session,
        heartbeat: Heartbeat,
        *,
        quiet_seconds: float | None = None,
        on_restart: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(scope, receive, send, session, heartbeat, quiet_seconds=quiet_seconds)
        self._on_restart = on_restart
        named = session.answer_headers
        self._headers = accept_headers(encoded(named)) if named else ()
        self._is_accepted = False
        self._accepted: anyio.Event | None = None
        self._max_message_bytes = session.environment.options.max_message_bytes

    async def pull(self) -> str | bytes | None:
        """Return the next message. None when the peer has disconnected or sent too much."""
        if not self._is_accepted:
            # Called before the accept, some servers' `receive` returns the connect message again.
            self._accepted = anyio.Event()
            await self._accepted.wait()
            self._accepted = None
        return self._read(await self._receive())

    def _run_session(self) -> Coroutine[Any, Any, None]:
        """Return what runs the session, without a coroutine around the server's `receive`."""
        if not self._is_accepted:
            return super()._run_session()
        return self._session.run(self, self._receive, self._context, self._read, self._lender())

    def _lender(self) -> Any:
        """Return the `lender` of `Session.run`."""
        return None

    def _read(self, message: Message) -> str | bytes | None:
        """Return the text or the bytes of a message of the server; as `pull`."""
        if message["type"] == "websocket.disconnect":
            if self._on_restart is not None and is_restart(message):
                # Nothing else tells the event streams. Before `lose`: the drain sends to this peer
                # too, which would count as slow if nothing could be queued for it any more.
                self._on_restart()
            if isinstance(code := message.get("code"), int):
                self._session.closed_by_peer(code, message.get("reason") or "")
            self.lose()
            return None
        text: str | None = message.get("text")
        data: str | bytes = (message.get("bytes") or b"") if text is None else text
        # A character has at most 4 bytes in UTF-8: this decides for nearly every message
        # (tests/benchmarks/microbench.py, "event, the handler does nothing; core and adapter").
        most = self._max_message_bytes
        if most is not None and len(data) * 4 > most and _is_longer(data, most):
            limit = f"A message may have {self._max_message_bytes} bytes."
            self._session.close(CloseCode.TOO_BIG, limit)
            return None
        return data

    async def write_opening(self) -> None:
        """Accept the connection."""
        accept: dict[str, object] = {
            "type": "websocket.accept",
            "subprotocol": self._session.subprotocol,
            "headers": list(self._headers),
        }
        self._headers = ()
        try:
            await put(self._writer.whole_send, accept)
        finally:
            self._is_accepted = True
            if self._accepted is not None:
                self._accepted.set()

    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame. False if the queue is full or the connection is ending."""
        writer = self._writer
        if not writer.is_free:
            return writer.enqueue(frame)
        # Runs once for every recipient of every broadcast, so it makes no avoidable call
        # (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and adapter").
        writer.writes += 1
        message = frame.websocket_form
        if message is None:
            utf8 = frame.utf8  # by the name of an import, its method would be bound before the call
            text = frame.text if utf8 is None else utf8.decode()
            message = frame.websocket_form = {"type": "websocket.send", "text": text}
        # As `Writer.begin`, without the call.
        send = writer.send  # a call of an attribute costs twice as much as one of a variable
        work = send(message)
        try:
            for waits_for in work.__await__():
                writer.hand_over(PendingSend(cast(Sending, work), waits_for, 1, frame.size))
                break
        except BaseException as error:  # noqa: BLE001 - boundary: a server's send
            writer.fail(error)
        return True

    async def write_queued(self, queue: BoundedQueue[Frame], /) -> None:
        """Write the whole queue."""
        # As `put`, without a call for each frame.
        writer, queued = self._writer, queue.queued
        send = writer.send
        try:
            while queued:
                frame = queued.popleft()
                writer.writes += 1
                await send({"type": "websocket.send", "text": frame.text})
                queue.wrote(1, frame.held)
        except Exception as error:
            raise PeerGone from error

    def _keep_alive(self) -> None:
        self._session.heartbeat()

    def _unsent(self) -> int:
        return unsent_bytes(self._receive)

    async def write_closing(self, closing: Closing, /) -> None:
        """Write the goodbye, then the close frame."""
        if closing.goodbye is not None:
            await put(self._writer.send, {"type": "websocket.send", "text": closing.goodbye.text})
        await put(self._writer.whole_send, _close_message(closing.code, closing.reason))


class FastWebSocketTransport(ASGIWebSocketTransport):
    """One accepted WebSocket of `pondsocket_asgi.fastlane`, as a session's outlet.

    While the peer keeps up, ready-made frames go straight to its socket. When it does not, they
    wait here, and are sent as on any server.
    """

    __slots__ = ("_lane",)

    def __init__(self, scope: Scope, *arguments: Any, **options: Any) -> None:
        super().__init__(scope, *arguments, **options)
        self._lane: Lane = scope["extensions"][FAST_LANE]
        self._lane.session = self._session

    def _lender(self) -> Any:
        # None where `receive` is wrapped, or another in a subclass: that is to see every message.
        # It is not asked for its attributes, as a wrapper may pass all of them on. An application
        # may have replaced the lane as well, by one without `receive`.
        receive: Any = self._receive
        own = getattr(self._lane, "receive", None)
        is_own = type(receive) is MethodType and receive.__func__ is own
        return receive.__self__ if is_own else None

    def _unsent(self) -> int:
        return 0  # the fast lane reads no pings while their answers wait

    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame. False if the queue is full or the connection is ending."""
        writer = self._writer
        if writer.is_free:
            if self._lane.is_open:
                writer.writes += 1
                self._lane.write(frame.wire or frame.make_wire())
                return True
            writer.occupy()
        return writer.enqueue(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Write several frames in one piece, or queue them. False if not all were accepted."""
        writer = self._writer
        if not writer.is_free or not self._lane.is_open:
            return super().offer_batch(batch)
        writer.writes += 1
        self._lane.write(batch.wire)
        return True


def _is_longer(data: str | bytes, max_bytes: int) -> bool:
    if isinstance(data, str) and not data.isascii():
        return len(data.encode("utf-8", "surrogatepass")) > max_bytes
    return len(data) > max_bytes


def _close_message(code: int, reason: str) -> dict[str, object]:
    short = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return {"type": "websocket.close", "code": int(code), "reason": short}
