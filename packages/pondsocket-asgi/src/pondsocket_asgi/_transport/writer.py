"""The writer of one connection: its bounded queue, the task that empties it, and the server's send.

Any code may write a frame, and never waits. If the server allows it (`server_send`) and nothing is
queued, the caller drives the server's `send` itself, and no task runs. Otherwise one task writes
what is queued, and sleeps while there is nothing. Frames count against the bound until they are
written, so a `send` that is stuck fills this queue and delays no other connection.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import anyio
from pondsocket.adapter import BoundedQueue, Frame, Session, about, drive, get_log
from pondsocket_common import CloseCode

from pondsocket_asgi._scope import Message, Send
from pondsocket_asgi._sending.server_send import ServerSend

from .inline_send import PendingSend, Sending, is_cancelled, is_stray
from .writer_states import WriterEvent, WriterState, advance

logger = get_log("pondsocket.asgi.transport")

# By names of their own: before Python 3.12 reading a member of an enum costs 0.3 us
# (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and adapter").
_QUEUEING: Final = WriterState.QUEUEING
_FREE: Final = WriterState.FREE
_FAILED: Final = WriterState.FAILED
_CLOSING: Final = WriterState.CLOSING
_LOST: Final = WriterState.LOST
_WAIT: Final = WriterEvent.WAIT
_REST: Final = WriterEvent.REST


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


class Closing(NamedTuple):
    """How a connection is to end."""

    code: CloseCode
    reason: str
    goodbye: Frame | None


class WriterTask(NamedTuple):
    """The task of a writer: its cancel scope, and an event that is set when it has ended."""

    scope: anyio.CancelScope
    ended: anyio.Event


class Transport(Protocol):
    """What is particular to a transport: the messages by which it writes."""

    def start_writer(self, task: WriterTask) -> None:
        """Start a task that calls `Writer.run`."""
        ...

    async def write_opening(self) -> None:
        """Accept the connection."""
        ...

    async def write_queued(self, queue: BoundedQueue[Frame], /) -> None:
        """Write the whole queue. Count each write in `Writer.writes` when it begins."""
        ...

    async def write_closing(self, closing: Closing, /) -> None:
        """Write the goodbye, then the end of the connection."""
        ...


class Writer:
    """Writes the frames of one connection.

    Attributes:
        send: The server's `send`, for what is between the start and the end.
        whole_send: The same with all that wraps it: for the start and the end.
        can_send_inline: Whether a caller may drive `send` to its first wait.
        is_free: Whether a caller may do so now, which is one of the states. A plain attribute,
            because it is read for each recipient of a broadcast; `_note` alone sets it.
        writes: How many writes have begun, for the connection's heartbeat.
    """

    __slots__ = (
        "_closing",
        "_failure",
        "_opens_inline",
        "_pending_send",
        "_queue",
        "_session",
        "_state",
        "_task",
        "_transport",
        "_wake",
        "can_send_inline",
        "is_free",
        "send",
        "whole_send",
        "writes",
    )

    def __init__(self, send: ServerSend, session: Session) -> None:
        self.send = send.send
        self.whole_send = send.whole
        self.can_send_inline = send.is_inline
        self._opens_inline = send.opens_inline
        self.is_free = False
        self.writes = 0
        self._session = session
        self._state = _QUEUEING
        self._queue: BoundedQueue[Frame] | None = None  # made when something has to wait
        self._pending_send: PendingSend | None = None
        self._failure: BaseException | None = None
        self._closing: Closing | None = None
        self._task: WriterTask | None = None
        self._transport: Transport | None = None  # from `open` until `detach`
        self._wake: anyio.Event | None = None

    def _note(self, event: WriterEvent) -> bool:
        """Change the state as an event demands. False if that changes nothing."""
        state = advance(self._state, event)
        if state is self._state:
            return False
        self._state = state
        self.is_free = state is _FREE
        return True

    # --- what callers write -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many frames are not written yet."""
        return 0 if self._queue is None else self._queue.frames

    @property
    def is_writing(self) -> bool:
        """Whether the task is in the server's `send`."""
        return self._queue is not None and self._queue.is_writing

    @property
    def is_in_send(self) -> bool:
        """Whether a `send` has begun and not ended, also one that the task has yet to take over."""
        return self._pending_send is not None or self.is_writing

    def begin(self, work: Sending, frames: int, size: int) -> None:
        """Begin a `send`; `is_free` must hold. If it has to wait, the task goes on with it."""
        self.writes += 1
        try:
            # Costs two thirds of `work.send(None)`, which ends with an exception.
            for waits_for in work.__await__():
                self.hand_over(PendingSend(work, waits_for, frames, size))
                break
        except BaseException as error:  # noqa: BLE001 - boundary: a server's send
            self.fail(error)

    def hand_over(self, begun: PendingSend) -> None:
        """Let the task go on with a `send` that has to wait."""
        self._note(_WAIT)
        self._made_queue().note_begun(begun.frames, begun.bytes)
        self._pending_send = begun
        self.start_or_wake()

    def fail(self, error: BaseException) -> None:
        """Note that a `send` raised. An exception that is to end the process is raised again."""
        if not isinstance(error, Exception) and not is_cancelled(error):
            raise error
        # The session is not closed here: the caller of `offer` is iterating over a roster, from
        # which closing would remove it.
        self._failure = error.__cause__ or error
        self._note(WriterEvent.FAIL)
        self.start_or_wake()

    def enqueue(self, frame: Frame) -> bool:
        """Queue a frame. False if the queue is full or the connection is ending."""
        state = self._state
        if state is _CLOSING or state is _LOST:
            return False
        queue = self._queue
        if queue is None:
            queue = self._made_queue()
        if not queue.append(frame):
            return False
        # The task need not be started here: whatever made the state QUEUEING has done so.
        self._wake_task()
        return True

    def occupy(self) -> None:
        """Queue what is offered from now on, until the task has had a turn."""
        self._note(_WAIT)
        self.start_or_wake()

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`."""
        if self._state is _CLOSING or self._state is _LOST:
            return True  # and never calls back: nothing is sent any more
        return self._queue is not None and self._queue.wait_for_room(callback, size)

    def compact(self) -> None:
        """Have what is queued hold no more than is needed: a write hangs."""
        if self._queue is not None:
            self._queue.compact()

    def _made_queue(self) -> BoundedQueue[Frame]:
        if self._queue is None:
            session = self._session
            options = session.options
            self._queue = BoundedQueue(options.outbox_frames, options.outbox_bytes, session.dropped)
        return self._queue

    # --- its end ------------------------------------------------------------------------------

    def end(self, closing: Closing, *, abort: bool) -> bool:
        """Note how the connection is to end. False if it ends already.

        With `abort` what is queued is not written. `start_or_wake` is to follow.
        """
        if not self._note(WriterEvent.END):
            return False
        self._closing = closing
        if abort and self._queue is not None:
            self._queue.clear()
        return True

    def lose(self) -> None:
        """Note that the peer has disconnected: nothing is written any more."""
        if self._note(WriterEvent.LOSE):
            if self._queue is not None:
                self._queue.clear()
            self._wake_task()

    async def ended_within(self, seconds: float) -> bool:
        """Wait at most `seconds` for the task to end. True if it has ended, or never began."""
        if self._task is None:
            return True
        ended = self._task.ended
        if not ended.is_set():
            with anyio.move_on_after(seconds):
                await ended.wait()
        return ended.is_set()

    def cancel(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.scope.cancel()

    # --- its task -----------------------------------------------------------------------------

    def open(self, transport: Transport) -> None:
        """Accept the connection. The transport is kept until `detach`."""
        self._transport = transport
        if not self._opens_inline:
            self.start_or_wake()
            return
        self.begin(transport.write_opening(), 0, 0)
        if self._pending_send is None:
            self._note(_REST)

    def detach(self) -> None:
        """Release the connection: the two refer to each other."""
        self._transport = None

    def start_or_wake(self) -> None:
        """Start or wake the task."""
        if self._task is not None:
            self._wake_task()
        elif self._transport is not None:
            # The loop's own classes: the caller may be a callback of the loop and not a task, and
            # there anyio makes neither.
            loop = self._session.environment.loop
            self._task = WriterTask(loop.new_scope(), loop.new_event())
            self._transport.start_writer(self._task)

    def _wake_task(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self, task: WriterTask, transport: Transport) -> None:
        """Write until the connection ends, then its end. The body of the task."""
        queue = self._made_queue()
        try:
            with task.scope:
                await self._write(queue, transport)
            queue.is_writing = False
        except BaseException as gone:
            if not isinstance(gone, PeerGone) and not is_stray(gone):
                raise
            queue.is_writing = False
            text = "A peer left while it was written to: %r"
            logger.debug(text, gone.__cause__, extra=about(self._session))
            self.lose()
            self._session.close(CloseCode.NORMAL, "The peer is gone.")
        finally:
            task.ended.set()

    async def _write(self, queue: BoundedQueue[Frame], transport: Transport) -> None:
        if not self._opens_inline:
            queue.begin_writing()
            self.writes += 1
            await transport.write_opening()
            queue.is_writing = False
        while True:
            if self._state is _FAILED:
                raise PeerGone from self._failure
            if self._pending_send is not None:
                await self._finish(self._pending_send, queue)
            elif queue.queued:
                queue.begin_writing()
                await transport.write_queued(queue)
                queue.is_writing = False
                if queue.has_dropped and not queue.queued:
                    queue.has_dropped = False
                    self._session.caught_up()
            elif self._state is _CLOSING or self._state is _LOST:
                break
            else:
                # A new Event only when there is nothing to do: it costs more than writing a frame.
                self._wake = wake = anyio.Event()
                if self.can_send_inline:
                    self._note(_REST)
                await wake.wait()
        if self._state is _CLOSING and self._closing is not None:
            queue.begin_writing()
            self.writes += 1
            await transport.write_closing(self._closing)

    async def _finish(self, begun: PendingSend, queue: BoundedQueue[Frame]) -> None:
        queue.begin_writing()
        self._pending_send = None
        try:
            await drive(begun.work, waited_for=begun.waits_for)
        except Exception as error:
            raise PeerGone from error
        queue.is_writing = False
        queue.wrote(begun.frames, begun.bytes)
