"""An open event stream as a session's outlet (HTML Living Standard, section 9.2)."""

from collections.abc import Sequence
from typing import Final

import anyio
from pondsocket import Frame, Options, Session
from pondsocket_common import CONNECTION_ID_HEADER, EVENT_STREAM, sse_comment

from ._outbox import Closing, Outbox, put
from ._scope import Receive, Send

COMMENT: Final = sse_comment()


class SSEStream(Outbox):
    """One open stream as a session's outlet."""

    def __init__(self, receive: Receive, send: Send, session: Session, options: Options) -> None:
        super().__init__(send, session, options)
        self.is_unnamed = False
        self._receive = receive
        self._keep_alive_seconds = options.sse_keepalive_seconds
        self._wrote_at = anyio.current_time()

    async def pull(self) -> None:
        """Return when the peer is gone; what it says comes by POST."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.lose()

    async def write(self) -> None:
        """Write, and between writes let no more time pass than proxies bear."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_idleness)
            await super().write()
            tasks.cancel_scope.cancel()

    async def _watch_idleness(self) -> None:
        # One timer every 15 s. A time limit around the writer's sleep would be one per frame.
        due = self._wrote_at + self._keep_alive_seconds
        while True:
            await anyio.sleep_until(due)
            due = self._wrote_at + self._keep_alive_seconds
            now = anyio.current_time()
            if due <= now:
                self.nudge()
                due = now + self._keep_alive_seconds

    async def _open(self) -> None:
        named = [
            (b"content-type", EVENT_STREAM.encode()),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (CONNECTION_ID_HEADER.encode(), self._session.connection_id.encode()),
        ]
        await put(self._send, {"type": "http.response.start", "status": 200, "headers": named})
        await self._write(self._take(), COMMENT)

    async def _write(self, frames: Sequence[Frame], before: bytes = b"") -> None:
        if self.is_unnamed:
            body = before + b"".join([frame.sse_unnamed for frame in frames])
        else:
            body = before + b"".join([frame.sse for frame in frames])
        await self._put_body(body, more=True)
        for frame in frames:
            self._written(frame)
        self._wrote_at = anyio.current_time()

    async def _keep_alive(self) -> None:
        await self._write((), COMMENT)

    async def _close(self, _closing: Closing, /) -> None:
        await self._put_body(b"", more=False)

    async def _put_body(self, body: bytes, *, more: bool) -> None:
        await put(self._send, {"type": "http.response.body", "body": body, "more_body": more})
