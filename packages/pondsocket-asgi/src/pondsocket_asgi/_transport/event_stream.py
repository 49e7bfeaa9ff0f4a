"""An open event stream as a session's outlet (HTML Living Standard, section 9.2)."""

import random
from collections.abc import Sequence
from typing import Any, Final, cast

from pondsocket.adapter import Batch, BoundedQueue, Frame, Session
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    EVENT_STREAM,
    GATEWAY,
    POND,
    ServerActions,
    ServerMessage,
    SystemEvents,
    sse_comment,
    sse_retry,
    sse_with_id,
)

from pondsocket_asgi._resume.positions import Positions
from pondsocket_asgi._scope import Receive, Scope, encoded
from pondsocket_asgi._sending.server_send import ServerSend

from .connection import Connection
from .heartbeat import Heartbeat
from .inline_send import PendingSend, Sending
from .writer import Closing, put

# How much is written at once. 64 KiB: asyncio's default high-water mark, above which servers wait.
_CHUNK_BYTES: Final = 65_536
# After a cut, browsers reconnect after a random time between these two; a GOODBYE may say another.
_RETRY_MS: Final = (1_000, 4_000)


_COMMENT_BYTES: Final = sse_comment()


class _Comment(Frame):
    """A comment, which readers ignore, in the form of a frame."""

    __slots__ = ()

    @property
    def sse(self) -> bytes:
        """The comment."""
        return _COMMENT_BYTES

    @property
    def sse_unnamed(self) -> bytes:
        """The same, as a comment has no name."""
        return _COMMENT_BYTES


_COMMENT: Final = _Comment(
    ServerMessage(ServerActions.SYSTEM, SystemEvents.PONG, GATEWAY, "0", {}),
    POND,
    len(_COMMENT_BYTES),
)


def stream_headers(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response that is an event stream."""
    return [
        (b"content-type", EVENT_STREAM.encode()),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        *more,
    ]


class SSEStream(Connection):
    """One open stream as a session's outlet.

    Args:
        positions: Its positions in channels with a history.
        is_unnamed: Leave out the names of events, for readers that know only unnamed ones.
        headers: Further headers of the response.
    """

    __slots__ = ("_first", "_headers", "_is_plain", "_is_unnamed", "_positions")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: ServerSend,
        session: Session,
        heartbeat: Heartbeat,
        positions: Positions,
        *,
        is_unnamed: bool = False,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        quiet_seconds = session.options.sse_keepalive_seconds
        super().__init__(scope, receive, send, session, heartbeat, quiet_seconds=quiet_seconds)
        self._positions = positions
        self._is_unnamed = is_unnamed
        self._headers = [*headers, *encoded(session.answer_headers)]
        # In front of the first message: a comment, as some proxies wait for a line, and a time.
        self._first = sse_comment() + sse_retry(random.randint(*_RETRY_MS))  # noqa: S311
        # Whether a frame is written in the form that is the same for most streams.
        self._is_plain = False

    async def pull(self) -> None:
        """Return when the peer has disconnected. Its messages come by POST."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.lose()

    async def write_opening(self) -> None:
        """Begin the response."""
        connection_id = (CONNECTION_ID_HEADER.encode(), self._session.connection_id.encode())
        named = stream_headers(connection_id, *self._headers)
        await put(
            self._writer.whole_send,
            {"type": "http.response.start", "status": 200, "headers": named},
        )

    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame. False if the queue is full or the connection is ending."""
        # Runs once for every stream of a broadcast, so it makes no avoidable call
        # (`python -m tests.benchmarks`, "Fan-out to event streams").
        writer = self._writer
        if not writer.is_free or not self._is_plain:
            return self._offer_own(frame)
        mark: bytes | None = b""
        if frame.position is not None or self._positions.cursor is not None:
            mark = self._positions.mark(frame)
            if mark is None:
                return self._offer_own(frame)
        # The message, and the mark that all streams have which share it.
        form: Any = frame.stream_form
        if form is None or form[0] != mark:
            block = frame.sse
            if frame.position is not None:
                self._positions.note(frame)
                event_id = self._positions.event_id()
                if event_id is not None:
                    block = sse_with_id(block, event_id)
            form = (mark, self._message(block))
            frame.stream_form = form
        writer.writes += 1
        # As `Writer.begin`, without the call.
        work = writer.send(form[1])
        try:
            for waits_for in work.__await__():
                writer.hand_over(PendingSend(cast(Sending, work), waits_for, 1, frame.size))
                break
        except BaseException as error:  # noqa: BLE001 - boundary: a server's send
            writer.fail(error)
        return True

    def _offer_own(self, frame: Frame) -> bool:
        """Write or queue a frame whose text this stream does not share with others."""
        if not self._writer.is_free:
            return self._writer.enqueue(frame)
        if frame.position is not None:
            self._positions.note(frame)
        block = frame.sse_unnamed if self._is_unnamed else frame.sse
        self._writer.begin(self._sending(block), 1, frame.size)
        return True

    def offer_batch(self, batch: Batch) -> bool:
        """Write several frames in one piece, or queue them. False if not all were accepted."""
        if not self._writer.is_free:
            return super().offer_batch(batch)
        if batch.has_positions:
            for frame in batch.frames:
                self._positions.note(frame)
        blocks = batch.sse_unnamed if self._is_unnamed else batch.sse
        self._writer.begin(self._sending(blocks), len(batch.frames), batch.size)
        return True

    def _sending(self, blocks: bytes) -> Sending:
        event_id = self._positions.event_id()
        if event_id is not None:
            blocks = sse_with_id(blocks, event_id)
        return cast(Sending, self._writer.send(self._message(self._take_first() + blocks)))

    @staticmethod
    def _message(body: bytes) -> dict[str, object]:
        return {"type": "http.response.body", "body": body, "more_body": True}

    def _take_first(self) -> bytes:
        first, self._first = self._first, b""
        self._is_plain = not self._is_unnamed
        return first

    async def write_queued(self, queue: BoundedQueue[Frame], /) -> None:
        """Write the whole queue, in pieces."""
        queued = queue.queued
        while queued:
            blocks = [self._take_first()]
            size = held = frames = 0
            while queued and size < _CHUNK_BYTES:
                frame = queued.popleft()
                blocks.append(frame.sse_unnamed if self._is_unnamed else frame.sse)
                if frame.position is not None:
                    self._positions.note(frame)
                size += frame.size
                held += frame.held
                frames += 1
            body = b"".join(blocks)
            # `_keep_alive` queues a comment only in front of all else, so it ends with one alone.
            if body.endswith(b"\n\n"):
                event_id = self._positions.event_id()
                if event_id is not None:
                    body = sse_with_id(body, event_id)
            self._writer.writes += 1
            await put(self._writer.send, self._message(body))
            queue.wrote(frames, held)

    def _keep_alive(self) -> None:
        writer = self._writer
        if self._positions.is_due:
            self._session.heartbeat()  # a block with data, at whose end the cursor may stand
        elif writer.is_free:
            sending = writer.send(self._message(_COMMENT.sse))
            writer.begin(cast(Sending, sending), 1, _COMMENT.size)
        elif not writer.pending:
            writer.enqueue(_COMMENT)

    async def write_closing(self, closing: Closing, /) -> None:
        """Write the goodbye, then the end of the response."""
        body = b""
        if closing.goodbye is not None:
            body = closing.goodbye.sse_unnamed if self._is_unnamed else closing.goodbye.sse
        end = {"type": "http.response.body", "body": body, "more_body": False}
        await put(self._writer.whole_send, end)
