"""One connected client, of any transport.

Messages come in through the adapter's `pull`, and frames go out through an `Outlet`. One task at a
time reads (see `lanes`). Reading continues while handlers wait, so that a disconnect is noticed
at once. When reading ends, memberships end in the same step, and handlers that still run get
a grace period. Then `run` returns, and nothing of the connection is left.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import anyio.abc
import anyio.lowlevel
from pondsocket_common import POND, ClientMessage, CloseCode, Codec, ServerMessage, fresh_id

from pondsocket._delivery import replies
from pondsocket._delivery.fanout import Outlet, offer_each
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._environment import Environment
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work, run_all
from pondsocket._state.lifecycle import LIVES, Life, LifeEvent
from pondsocket._state.request import ConnectRequest, Refusal

from .inbound import Inbound, ReadyMessage
from .membership import Membership, SessionOwner

Pull: TypeAlias = Callable[[], Awaitable[str | bytes | None]]

_log: Final = logging.getLogger("pondsocket.session")

# Messages that are handled without waiting never give the event loop a turn. So the reader gives
# one after this many, before the broadcasts of one client's burst fill the outboxes of the
# members, whose writers wait for that turn.
_MESSAGES_PER_TURN: Final = 16
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_OPEN: Final = Life.OPEN
_NO_NAMES: Final[frozenset[str]] = frozenset()
_RESTARTS: Final = "the server restarts"
_NO_CLOSE: Final = (CloseCode.NORMAL, "", True)


class Session:
    """One connection. Made by `PondSocket.connect`; the adapter calls `run`."""

    __slots__ = (
        "_close",
        "_context",
        "_counting",
        "_ended",
        "_goodbye",
        "_greeting",
        "_has_grace",
        "_inbound",
        "_is_restart_announced",
        "_leading",
        "_leave_work",
        "_life",
        "_loop_turn",
        "_outlet",
        "_owner",
        "_pull",
        "_reader",
        "_tasks",
        "_to_resume",
        "assigns",
        "codec",
        "connection_id",
        "environment",
        "identity",
        "is_user_known",
        "memberships",
        "names_removed",
        "opened_at",
        "options",
        "params",
        "request",
        "resuming",
        "scopes",
        "subprotocol",
        "user_id",
    )  # fmt: skip

    def __init__(
        self,
        owner: "SessionOwner[Session]",
        request: ConnectRequest,
        environment: Environment,
        *,
        params: Mapping[str, str],
        user_id: str,
        is_user_known: bool,
        assigns: dict[str, Any],
        greeting: list[ServerMessage],
        identity: object = None,
        subprotocol: str | None = None,
        codec: Codec = POND,
    ) -> None:
        self.codec = codec
        self.connection_id = fresh_id()
        self.user_id = user_id
        self.assigns = assigns
        self.request = request
        self.params = params
        self.is_user_known = is_user_known
        self.identity = identity
        self.subprotocol = subprotocol
        self.environment = environment
        self.options = environment.options
        self.opened_at = environment.clock()
        self.memberships: dict[str, Membership] = {}
        self.names_removed = 0  # how many names have been removed from `memberships` or `resuming`
        # What a client that reconnects is to join, besides `memberships`: the joins that are under
        # way after a reconnect and, after the end, the memberships that there were at the end.
        self.resuming: Set[str] = _NO_NAMES
        self._to_resume: Sequence[ClientMessage] | None = None
        # Cancelled when the connection ends: joins that are not decided, and spawned tasks.
        self.scopes: dict[anyio.CancelScope, str | None] = {}
        self._owner = owner
        self._greeting: Sequence[ServerMessage] = greeting
        self._life = Life.ADMITTED
        self._outlet: Outlet | None = None
        self._pull: Pull  # set by `run`
        self._tasks: anyio.abc.TaskGroup | None = None
        self._context: Context  # each task of the connection runs in a copy of it
        self._reader: anyio.CancelScope | None = None
        self._leading = False
        self._close = _NO_CLOSE
        self._goodbye: ServerMessage | None = None
        self._is_restart_announced = False
        self._has_grace = False
        self._leave_work: Sequence[Work] = ()
        self._ended: anyio.Event | None = None  # made by the first `wait_ended`
        self._inbound = Inbound(self, owner, environment)
        self._loop_turn = environment.loop_turn
        self._counting = environment.counting

    @property
    def path(self) -> str:
        """The path at which it was admitted."""
        return self.request.path

    @property
    def close_code(self) -> CloseCode:
        """Why it was closed; NORMAL: the client has closed it, or the server gave no reason."""
        return self._close[0]

    @property
    def may_return(self) -> bool:
        """Whether the client may reconnect after the end of the connection."""
        return self.close_code is CloseCode.NORMAL or self.close_code.reconnect

    @property
    def is_open(self) -> bool:
        """Whether it is being served: it has neither ended nor been closed."""
        return self._life is _OPEN

    # --- the adapter's side -------------------------------------------------------------------

    def resume(self, joins: Sequence[ClientMessage]) -> None:
        """Set the joins that `run` repeats for a client that reconnects, where that is possible.

        The client is told which were repeated. To be called before `run`.
        """
        self._to_resume = joins

    async def run(self, outlet: Outlet, pull: Pull, context: Context | None = None) -> None:
        """Serve the connection until `pull` returns None or it is closed.

        Args:
            context: The context that its tasks run in a copy of; None: the caller's.
        """
        self._outlet = outlet
        self._pull = pull
        self._context = copy_context() if context is None else context
        # All messages of a WebSocket come from its reader. So while this task reads, no handler
        # runs that may continue after the end, and the reader needs no cancel scope of its own.
        reads_alone = self.request.transport == "websocket" and self._to_resume is None
        try:
            async with self.environment.loop.new_group() as tasks:
                self._tasks = tasks
                if self._advance(LifeEvent.OPEN):
                    self._greet()
                if reads_alone:
                    await self._read_within(tasks.cancel_scope)
                else:
                    await self._read()
            if self._has_grace and tasks.cancel_scope.cancelled_caught:
                grace = self.options.handler_grace
                _log.warning("Handlers ran %s s past their connection and were cancelled.", grace)
        finally:
            self._tasks = None
            self._reading_is_over()
            await self._run_leave_work()
            if self.memberships:  # the adapter may still write, and list the channels
                self.resuming = self.resuming | self.memberships.keys()
            # Break the reference cycle that would keep channels until the next collection.
            self.memberships.clear()
            if self._ended is not None:
                self._ended.set()
            # These refer to the session. Without them it is freed now, not at the next collection.
            self._outlet = self._reader = None
            self._inbound.end()
            del self._pull, self._inbound

    def post(self, body: bytes | Refusal) -> Refusal | None:
        """Accept a message, or a JSON array of up to 64, that does not come from `pull`.

        Not for a WebSocket: when it ends, handlers of such messages get no grace period.

        Args:
            body: A refusal if the transport refused it, which counts like any other.

        Returns:
            None if all of it is accepted; handlers may still run. Else a Refusal: none of it is.
        """
        if not self.is_open or self._tasks is None:
            return Refusal(404, "NOT_FOUND", "There is no such connection.")
        return self._inbound.post(body, self._run_entered)

    def _run_entered(self, entered: ReadyMessage) -> None:
        self._start(self._inbound.lanes.run, *entered)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the connection. Its memberships end now, the transport as soon as it can.

        The client gets a GOODBYE. With NORMAL it gets none: it asked for the close itself, or is
        gone.
        """
        code = CloseCode(code)  # a plain integer would fail half-way
        if self._loop_turn.waiting:
            self._loop_turn.flush()  # while frames are still sent to it
        if not self._advance(LifeEvent.CLOSE):
            return
        self._close = (code, reason, code is CloseCode.SLOW_CONSUMER)
        self._leave_work = self._owner.ended(self)
        if code is not CloseCode.NORMAL and not (
            self._is_restart_announced and code is CloseCode.RESTART
        ):
            self._goodbye = replies.goodbye(code, reason, after_ms=0)
        # The caller may be a handler that the reader is driving now. It must not be cancelled with
        # the reader, which checks the state as soon as the handler returns.
        if self._reader is not None and not self._leading:
            self._reader.cancel()

    def close_for_restart(self, seconds: float) -> None:
        """Tell the client that the server restarts, and close the connection after `seconds`.

        Until then it is served as before.
        """
        if self._life is Life.OPEN and not self._is_restart_announced:
            self._is_restart_announced = True
            self.send(replies.goodbye(CloseCode.RESTART, _RESTARTS, math.ceil(seconds * 1_000)))
            self.spawn(partial(self._close_after, seconds))

    async def _close_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.close(CloseCode.RESTART, _RESTARTS)

    async def wait_ended(self) -> None:
        """Wait until nothing of the connection is left."""
        if self._outlet is not None:  # it runs
            if self._ended is None:
                self._ended = self.environment.loop.new_event()
            await self._ended.wait()

    # --- the handlers' side -------------------------------------------------------------------

    def send(self, message: ServerMessage) -> None:
        """Send a message behind all that waits for this client. Does nothing after the end.

        Raises:
            EncodingError: The application's payload cannot be written as JSON.
        """
        self.send_frame(Frame.of(message, self.codec))

    def send_frame(self, frame: Frame) -> None:
        """Send an encoded message; see `send`."""
        if self._loop_turn.waiting:
            self._loop_turn.flush()
        if not self.offer(frame):
            self.overflow()

    @property
    def sink(self) -> "Outlet | Session":
        """The sink of its broadcasts while it is open: the outlet, if nothing is to be done here.

        That is so if frames are in its wire format already, and are not counted.
        """
        outlet = self._outlet
        is_plain = self._counting is None and self.codec is POND
        return outlet if is_plain and outlet is not None else self

    def offer(self, frame: Frame) -> bool:
        """Queue `frame` without flushing gathered broadcasts. False if the outbox is full."""
        outlet = self._outlet
        if self._life is not _OPEN or outlet is None:
            return True
        if frame.codec is not self.codec:
            frame = frame.in_format(self.codec)
        if not outlet.offer(frame):
            return False
        if self._counting is not None:
            self._counting.sent(frame.size, outlet.pending)
        return True

    def offer_batch(self, batch: Batch) -> bool:
        """Queue the frames of a batch. False if not all were accepted."""
        outlet = self._outlet
        if self._counting is not None or self._life is not _OPEN or outlet is None:
            return offer_each(self.offer, batch)
        return outlet.offer_batch(batch.in_format(self.codec))

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`. False also after the end of the connection."""
        outlet = self._outlet
        if self._life is not Life.OPEN or outlet is None:
            return False
        return outlet.wait_for_room(callback, size)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        if self._life is Life.OPEN:
            self._owner.overflowed(self)

    def heartbeat(self) -> None:
        """Send a heartbeat, so that no proxy takes the connection for dead."""
        self.send(replies.heartbeat())

    def dropped(self, frames: int) -> None:
        """Count frames that the outlet has dropped, as their lobby allows."""
        if self._life is Life.OPEN:  # a client that has gone misses nothing
            self._owner.dropped(self, frames)

    def caught_up(self) -> None:
        """Note that the outlet, which has dropped frames, is empty again."""
        self._owner.caught_up(self)

    def left(self, channel_name: str) -> None:
        """Remove a membership that has ended."""
        del self.memberships[channel_name]
        self.names_removed += 1

    def charge(self, request: ClientMessage, error_count: int) -> None:
        """Charge the client's rate limits for a message with this many errors."""
        self._inbound.charge(request, error_count)

    def spawn(self, work: Work) -> None:
        """Run `work` in a task that is cancelled when the connection ends."""
        if self._life is Life.OPEN:
            scope = self.environment.loop.new_scope()
            self.scopes[scope] = None
            self._start(self._run_within, scope, work)

    async def _run_within(self, scope: anyio.CancelScope, work: Work) -> None:
        with scope:
            try:
                await work()
            finally:
                self.scopes.pop(scope, None)

    def _start(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> None:
        """Start a task in a copy of the connection's context, not of the caller's."""
        if (tasks := self._tasks) is not None:
            self._context.copy().run(tasks.start_soon, self._run_to_end, work, *arguments)

    async def _run_to_end(
        self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> None:
        try:
            await work(*arguments)
        except BaseException as error:  # noqa: BLE001 - boundary: one connection
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Close a connection that has failed. Raise what its task must get: see `failure_of`."""
        failure = failure_of(error)
        _log.error("A connection failed (user=%r).", self.user_id, exc_info=failure)
        self.close(CloseCode.INTERNAL, "the server failed")

    # --- reading ------------------------------------------------------------------------------

    async def _read(self) -> None:
        with self.environment.loop.new_scope() as scope:
            await self._read_within(scope)

    async def _read_within(self, scope: anyio.CancelScope) -> None:
        self._reader = scope
        pull, inbound = self._pull, self._inbound
        unturned = 0
        try:
            while self._life is _OPEN:
                data = await pull()
                if data is None or self._life is not _OPEN:
                    return
                self._leading = True
                try:
                    begun = inbound.take(data)
                    data = None  # not kept while the reader waits for the next one
                    if begun is not None:
                        if await inbound.lanes.finish(*begun, self._hand_over):
                            return  # another task reads now
                        begun = None
                except BaseException as error:  # noqa: BLE001 - boundary: one connection
                    self._fail(error)
                    return
                self._leading = False
                unturned += 1
                if unturned == _MESSAGES_PER_TURN:
                    unturned = 0
                    await anyio.lowlevel.checkpoint()
        finally:
            # Also if it is cancelled or `pull` fails, but not if another task reads by now.
            if self._reader is scope:
                self._reading_is_over()

    def _hand_over(self) -> None:
        self._leading = False
        self._reader = None
        if self._life is Life.OPEN and self._tasks is not None:
            self._tasks.start_soon(self._read)
        else:
            self._reading_is_over()

    def _reading_is_over(self) -> None:
        closed_by_us = self._life is Life.CLOSING
        if not self._advance(LifeEvent.END):
            return
        if not closed_by_us:
            self._leave_work = self._owner.ended(self)
        for scope in self.scopes:
            scope.cancel()
        if self._outlet is not None:
            code, reason, abort = self._close
            goodbye = self._goodbye
            frame = None if goodbye is None else Frame.of(goodbye, self.codec)
            self._outlet.end(code, reason, abort=abort, goodbye=frame)
        if self._tasks is not None:
            if self._leave_work:
                self._tasks.start_soon(self._run_leave_work)
            if not self._inbound.lanes.idle:
                grace = self.options.handler_grace
                self._tasks.cancel_scope.deadline = anyio.current_time() + grace
                self._has_grace = True

    async def _run_leave_work(self) -> None:
        """Run leave handlers, also if the server cancels this task: no other task runs them."""
        while self._leave_work:
            works, self._leave_work = self._leave_work, ()
            with anyio.CancelScope(shield=True):
                await run_all(works)

    def _advance(self, event: LifeEvent) -> bool:
        following = LIVES.get((self._life, event))
        if following is None:
            return False
        self._life = following
        return True

    def _greet(self) -> None:
        entered, left = self._inbound.resume(self._to_resume or ())
        names = tuple(join.channel_name for _, join, _ in entered)
        if self._to_resume is not None:
            self.resuming = {*names}
            self.names_removed += 1
        resumed, others = (None, None) if self._to_resume is None else (names, left)
        supports = self._owner.supports
        self.send(replies.connected(self.user_id, self.connection_id, resumed, others, supports))
        greeting, self._greeting = self._greeting, ()
        for message in greeting:
            self.send(message)
        if self.is_open:
            self._owner.opened(self)
        self._to_resume = None
        for each in entered:
            self._start(self._run_resumed, each)

    async def _run_resumed(self, entered: ReadyMessage) -> None:
        try:
            await self._inbound.lanes.run(*entered)
        finally:
            if self.is_open:  # otherwise it may be undecided, and a later connection repeats it
                self.resuming = self.resuming - {entered[1].channel_name}
                self.names_removed += 1
