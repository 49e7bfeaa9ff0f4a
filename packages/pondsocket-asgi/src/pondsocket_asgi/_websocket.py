"""The WebSocket door: refuse or accept, then frames in and frames out."""

from collections.abc import Sequence
from typing import Final

import anyio
from pondsocket import Frame, Options, PondSocket, Refusal, Session
from pondsocket_common import CloseCode

from ._outbox import Closing, Outbox, PeerGone, logger, put
from ._scope import Receive, Scope, Send, connect_request, refusal_headers

# RFC 6455, section 5.5: a control frame holds 125 bytes, two of which are the close code.
MAX_REASON_BYTES: Final = 123


async def serve_websocket(pond: PondSocket, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket scope from its handshake to its end."""
    if (await receive())["type"] != "websocket.connect":
        return
    request = connect_request(scope, "websocket")
    outcome = request if isinstance(request, Refusal) else await pond.connect(request)
    if isinstance(outcome, Refusal):
        await _refuse(outcome, scope, send)
    else:
        await ASGIWebSocketTransport(receive, send, outcome, pond.options).run()


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    try:
        if "websocket.http.response" in (scope.get("extensions") or {}):
            body = refusal.body()
            await put(
                send,
                {
                    "type": "websocket.http.response.start",
                    "status": refusal.status,
                    "headers": refusal_headers(refusal, body),
                },
            )
            await put(send, {"type": "websocket.http.response.body", "body": body})
        else:
            await put(send, _close_message(4000 + refusal.status, refusal.message))
    except PeerGone as gone:
        logger.debug("A peer left while it was refused: %r", gone.__cause__)


class ASGIWebSocketTransport(Outbox):
    """One accepted WebSocket as a session's outlet."""

    def __init__(self, receive: Receive, send: Send, session: Session, options: Options) -> None:
        super().__init__(send, session, options)
        self._receive = receive
        self._accepted: anyio.Event | None = anyio.Event()
        self._max_message_bytes = options.max_message_bytes

    async def pull(self) -> str | bytes | None:
        """The next message; None when the peer is gone or sent more than it may."""
        if self._accepted is not None:
            # Asked before the accept, some servers give the connect message a second time.
            await self._accepted.wait()
            self._accepted = None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.lose()
            return None
        data: str | bytes | None = message.get("text")
        if data is None:
            data = message.get("bytes") or b""
        if _is_longer(data, self._max_message_bytes):
            limit = f"A message may have {self._max_message_bytes} bytes."
            self._session.close(CloseCode.TOO_BIG, limit)
            return None
        return data

    async def _open(self) -> None:
        try:
            await put(self._send, {"type": "websocket.accept", "subprotocol": None, "headers": []})
        finally:
            if self._accepted is not None:
                self._accepted.set()

    async def _write(self, frames: Sequence[Frame]) -> None:
        # What `put` and `_written` do, without a call for each frame.
        send = self._send
        try:
            for frame in frames:
                if self._is_dropping:
                    return
                await send({"type": "websocket.send", "text": frame.text})
                self._unwritten_frames -= 1
                self._unwritten_bytes -= frame.size
        except Exception as error:
            raise PeerGone from error

    async def _keep_alive(self) -> None:
        """Nothing: pings are the server's."""

    async def _close(self, closing: Closing, /) -> None:
        await put(self._send, _close_message(closing.code, closing.reason))


def _is_longer(data: str | bytes, max_bytes: int | None) -> bool:
    if max_bytes is None:
        return False
    # No character of UTF-8 is longer than 4 bytes, so nearly every message is decided by this.
    if len(data) * 4 <= max_bytes:
        return False
    if isinstance(data, str) and not data.isascii():
        return len(data.encode("utf-8", "surrogatepass")) > max_bytes
    return len(data) > max_bytes


def _close_message(code: int, reason: str) -> dict[str, object]:
    short = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return {"type": "websocket.close", "code": int(code), "reason": short}
