"""The connection of one peer: its bounded outbox, the writer that empties it, and its end.

Any code may call `offer`, which never waits. If the server allows it (`inline_send`) and nothing is
queued, `offer` writes the frame itself, and no writer runs. Otherwise one writer writes what is
queued, and sleeps while there is nothing. Frames count against the bound until they are written, so
a `send` that is stuck fills this outbox and delays no other connection.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, NamedTuple

import anyio
import anyio.abc
from pondsocket.adapter import Batch, Frame, Session
from pondsocket_common import CloseCode

from pondsocket_asgi._process.servers import abort_transport, hurry_transport
from pondsocket_asgi._process.sockets import hurry_connection, reset_connection
from pondsocket_asgi._scope import Message, Receive, Scope, Send, is_old_http

from .heartbeat import Heartbeat
from .inline_send import Sending, can_send_inline, finish_send, is_cancelled, is_stray
from .queue import OutboundQueue

logger = logging.getLogger("pondsocket.asgi.transport")

# A peer that reads at all reads a full outbox in this time; waiting longer only holds memory.
WRITE_OUT_SECONDS: Final = 5.0
# Time for a close frame to a peer that is aborted, most likely because it does not read.
ABORT_SECONDS: Final = 1.0


class PeerGone(Exception):  # noqa: N818 - it happens every day and is not an error
    """The server could not send: the peer has disconnected."""


async def put(send: Send, message: Message) -> None:
    """Send one ASGI message.

    Raises:
        PeerGone: `send` raised. The specification says OSError; servers that are closing the
            connection themselves raise RuntimeError as well.
    """
    try:
        await send(message)
    except Exception as error:
        raise PeerGone from error


class PendingSend(NamedTuple):
    """A `send` that `offer` began and that has to wait; the writer goes on with it."""

    work: Sending
    waits_for: object
    frames: int
    bytes: int


class Closing(NamedTuple):
    """How a connection is to end."""

    code: CloseCode
    reason: str
    goodbye: Frame | None


class Outbox(ABC):
    """A session's outlet: a bounded queue of frames and the one writer that empties it.

    Args:
        quiet_seconds: After how long without a write to send a heartbeat; None: never.
    """

    __slots__ = (
        "_can_send_inline",
        "_closing",
        "_context",
        "_failure",
        "_has_ended",
        "_has_writer",
        "_heartbeat",
        "_is_cut_off",
        "_is_free",
        "_lost",
        "_outbound",
        "_pending_send",
        "_quiet_limit",
        "_quiet_since",
        "_receive",
        "_scope",
        "_send",
        "_session",
        "_tasks",
        "_wake",
        "_write_timeout",
        "_writer",
        "_writes",
        "_writes_seen",
        "_written",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        heartbeat: Heartbeat,
        *,
        quiet_seconds: float | None,
    ) -> None:
        options = session.options
        self._scope = scope
        self._receive = receive
        self._send = send
        self._session = session
        self._heartbeat = heartbeat
        self._outbound: OutboundQueue | None = None  # made when something has to wait
        self._write_timeout = options.write_timeout
        self._quiet_limit = quiet_seconds
        self._wake: anyio.Event | None = None
        self._can_send_inline = can_send_inline(send)
        # Whether `offer` may write a frame itself: nothing is queued before it, and nothing has
        # ended the connection.
        self._is_free = False
        self._pending_send: PendingSend | None = None
        self._failure: BaseException | None = None
        self._closing: Closing | None = None
        self._lost = False
        self._tasks: anyio.abc.TaskGroup | None = None
        # For `beat`, which compares the two to see whether anything was written since.
        self._writes = 0
        self._writes_seen = -1
        self._quiet_since = 0.0
        self._context = copy_context()
        self._has_writer = False
        self._writer: anyio.CancelScope | None = None  # made by itself
        self._written: anyio.Event | None = None
        self._has_ended = False
        self._is_cut_off = False

    @property
    def pending(self) -> int:
        """How many frames are not written yet."""
        return 0 if self._outbound is None else self._outbound.frames

    @abstractmethod
    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame. False if the outbox is full or the connection is ending."""

    def offer_batch(self, batch: Batch) -> bool:
        """Write or queue several frames. False if not all of them were accepted."""
        return all(map(self.offer, batch.frames))

    def _begin(self, work: Sending, frames: int, size: int) -> None:
        """Begin a `send`; `_is_free` must hold. If it has to wait, the writer goes on with it."""
        self._writes += 1
        try:
            # Costs two thirds of `work.send(None)`, which ends with an exception.
            for waits_for in work.__await__():
                self._hand_over(PendingSend(work, waits_for, frames, size))
                break
        except BaseException as error:  # noqa: BLE001 - boundary: a server's send
            self._fail(error)

    def _hand_over(self, begun: PendingSend) -> None:
        self._is_free = False
        queue = self._made_queue()
        queue.frames += begun.frames
        queue.bytes += begun.bytes
        self._pending_send = begun
        self._start_writer()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, Exception) and not is_cancelled(error):
            raise error
        # The session is not closed here: the caller of `offer` is iterating over a roster, from
        # which closing would remove it.
        self._is_free = False
        self._failure = error
        self._start_writer()

    def _start_writer(self) -> None:
        """Start or wake the writer."""
        if not self._has_writer:
            if (tasks := self._tasks) is not None:
                self._has_writer = True
                # In the connection's context, not in the caller's: the caller may be a callback of
                # the loop and not a task, and there anyio makes no scope.
                self._context.copy().run(tasks.start_soon, self._run_writer)
        else:
            self._nudge()

    def _queue(self, frame: Frame) -> bool:
        if self._is_ending or not self._made_queue().append(frame):
            return False
        self._nudge()
        return True

    def _made_queue(self) -> OutboundQueue:
        if self._outbound is None:
            self._outbound = OutboundQueue(self._session.options, self._session.dropped)
        return self._outbound

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Return whether the outbox is half full, or would be with `size` more bytes.

        If so, it calls `callback` when it is down to a quarter.
        """
        if self._is_ending:
            return True  # and never calls back: nothing is sent any more
        return self._outbound is not None and self._outbound.wait_for_room(callback, size)

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Close the connection after what is queued, or, with `abort`, without writing that.

        Only the first call counts.
        """
        if self._closing is None:
            self._closing = Closing(code, reason, goodbye)
            self._is_free = False
            if abort and self._outbound is not None:
                self._outbound.queued.clear()
            if self._lost:
                self._nudge()
                return
            # Now, and not after the session's `run`, which waits for the handlers.
            if self._tasks is not None:
                work = self._give_up if abort else self._hurry if self._is_in_send else None
                if work is not None:  # in the connection's context, as in `_start_writer`
                    self._context.copy().run(self._tasks.start_soon, work)
            self._start_writer()

    def lose(self) -> None:
        """Note that the peer has disconnected: nothing is written any more."""
        self._lost = True
        self._is_free = False
        if self._outbound is not None:
            self._outbound.queued.clear()
        self._nudge()

    def beat(self, now: float, interval: float) -> None:
        """Check whether a write hangs, or a heartbeat is due. Called by `Heartbeat`."""
        if self._writes != self._writes_seen:
            self._writes_seen = self._writes
            self._quiet_since = now
            return
        quiet = now - self._quiet_since
        if self._outbound is not None and self._outbound.is_writing:
            if quiet >= self._write_timeout and self._session.is_open:
                self._session.overflow()
        # The last write was up to one interval before it was seen, and the next call may come too
        # late. So up to two intervals early: proxies keep their time limits exactly.
        elif self._quiet_limit is not None and quiet >= self._quiet_limit - 2 * interval:
            self._quiet_since = now
            self._keep_alive()

    def _nudge(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self) -> None:
        """Run the session over this outlet until both have ended."""
        async with self._session.environment.loop.new_group() as tasks:
            self._tasks = tasks
            self._heartbeat.add(self, tasks)
            try:
                if self._can_send_inline:
                    self._begin(self._open(), 0, 0)
                    self._is_free = self._pending_send is None and self._failure is None
                else:
                    self._start_writer()
                await self._session.run(self, self.pull, self._context)
                await self._wait_for_writer(WRITE_OUT_SECONDS)
            finally:
                self._heartbeat.remove(self)
                # Cancelled by the server or the host application in the middle of a write.
                if self._is_in_send and is_old_http(self._scope):
                    with anyio.CancelScope(shield=True):
                        await self._cut_off()

    async def _give_up(self) -> None:
        await self._hurry()
        await self._wait_for_writer(ABORT_SECONDS)

    async def _hurry(self) -> None:
        # The close frame may get no further than into the buffers of the server and the system,
        # which wait for the peer to read. The writer would seem done, and the socket would stay.
        # Not with HTTP/2: the limit would apply to every stream on the shared socket.
        if is_old_http(self._scope) and not hurry_transport(self._receive):
            await hurry_connection(self._scope)

    async def _wait_for_writer(self, seconds: float) -> None:
        """Wait for the writer to end; after so many seconds, cut the connection."""
        if await self._has_ended_within(seconds):
            return
        if not is_old_http(self._scope):
            # HTTP/2: the socket carries other requests too, behind some proxies those of other
            # peers.
            self._cancel_writer()
            if await self._has_ended_within(ABORT_SECONDS):
                return
        # First the socket: on some servers a stuck `send` cannot be cancelled, and no server frees
        # the socket of a peer that does not read.
        await self._cut_off()
        self._cancel_writer()

    def _cancel_writer(self) -> None:
        if self._writer is not None:
            self._writer.cancel()

    async def _has_ended_within(self, seconds: float) -> bool:
        if self._has_writer and not self._has_ended:
            if self._written is None:
                self._written = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._written.wait()
        return not self._has_writer or self._has_ended

    async def _cut_off(self) -> None:
        if not self._is_cut_off:
            self._is_cut_off = True
            # The server's own transport is certainly this connection. `reset_connection` looks for
            # the addresses, which a client may forge if a proxy passes its headers on.
            if not abort_transport(self._receive):
                await reset_connection(self._scope)

    async def _run_writer(self) -> None:
        queue = self._made_queue()
        try:
            with anyio.CancelScope() as self._writer:
                await self._write(queue)
            queue.is_writing = False
        except BaseException as gone:
            if not isinstance(gone, PeerGone) and not is_stray(gone):
                raise
            queue.is_writing = False
            logger.debug("A peer left while it was written to: %r", gone.__cause__)
            self.lose()
            self._session.close(CloseCode.NORMAL, "The peer is gone.")
        finally:
            self._has_ended = True
            if self._written is not None:
                self._written.set()

    async def _write(self, queue: OutboundQueue) -> None:
        """Write what is queued until the connection ends; then close it if the peer is there."""
        if not self._can_send_inline:
            queue.begin_writing()
            self._writes += 1
            await self._open()
            queue.is_writing = False
        while True:
            if self._failure is not None:
                raise PeerGone from self._failure.__cause__ or self._failure
            if self._pending_send is not None:
                await self._finish_send(self._pending_send, queue)
            elif queue.queued:
                queue.begin_writing()
                await self._write_queued(queue)
                queue.is_writing = False
                if queue.has_dropped and not queue.queued:
                    queue.has_dropped = False
                    self._session.caught_up()
            elif self._is_ending:
                break
            else:
                # A new Event only when there is nothing to do: it costs more than writing a frame.
                self._wake = anyio.Event()
                self._is_free = self._can_send_inline
                await self._wake.wait()
        if self._closing is not None and not self._lost:
            queue.is_writing = True
            self._writes += 1
            await self._close(self._closing)

    async def _finish_send(self, begun: PendingSend, queue: OutboundQueue) -> None:
        queue.begin_writing()
        self._pending_send = None
        try:
            await finish_send(begun.work, begun.waits_for)
        except Exception as error:
            raise PeerGone from error
        queue.is_writing = False
        queue.wrote(begun.frames, begun.bytes)

    @property
    def _is_ending(self) -> bool:
        return self._lost or self._closing is not None

    @property
    def _is_in_send(self) -> bool:
        is_writing = self._outbound is not None and self._outbound.is_writing
        return is_writing or self._pending_send is not None

    @abstractmethod
    async def pull(self) -> str | bytes | None:
        """Return the next message of the peer. None when it has disconnected."""

    @abstractmethod
    async def _open(self) -> None:
        """Accept the connection."""

    @abstractmethod
    async def _write_queued(self, queue: OutboundQueue, /) -> None:
        """Write the whole queue. Count each write in `_writes` when it begins."""

    @abstractmethod
    def _keep_alive(self) -> None:
        """Send a heartbeat, so that no proxy closes the connection as idle."""

    @abstractmethod
    async def _close(self, closing: Closing, /) -> None: ...
