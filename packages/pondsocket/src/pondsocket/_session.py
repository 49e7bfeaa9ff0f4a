"""One connected peer, whatever the transport.

Frames come in through a `pull` that the door lends, and go out through an `Outlet`. One task at a
time reads (see `_lanes`); it goes on reading while handlers wait, so that a disconnect is noticed
at once. When reading is over, memberships end in the same step, and handlers that still run get
a grace period; then `run` returns and nothing of the connection is left.
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
from pondsocket_common import ClientMessage, CloseCode, fresh_id

from . import _answers as answers
from ._delivery import Outlet, push_each
from ._environment import Environment, Work, run_all
from ._frames import Batch, Frame
from ._inbox import Entered, Inbox
from ._loop import failure_of
from ._request import ConnectRequest, Refusal
from ._session_owner import Line, Membership, SessionOwner
from ._state.lifecycle import LIVES, Life, LifeEvent

Pull: TypeAlias = Callable[[], Awaitable[str | bytes | None]]

_log: Final = logging.getLogger("pondsocket.session")

# Messages that are handled without waiting never give the event loop a turn; so now and then
# somebody has to: before one client's burst, told to a room, fills the outboxes of its members,
# whose writers wait for that turn.
_MESSAGES_PER_TURN: Final = 16
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_OPEN: Final = Life.OPEN
_NOBODY: Final[frozenset[str]] = frozenset()
_RESTARTS: Final = "the server restarts"
_NO_CLOSE: Final = (CloseCode.NORMAL, "", True)


class Session:
    """One connection. Made by `PondSocket.connect`; a door calls `run`."""

    __slots__ = (
        "_close", "_context", "_counting", "_ended", "_farewells", "_goodbye", "_greeting",
        "_has_grace", "_inbox", "_is_departing", "_leading", "_life", "_outlet", "_owner", "_pull",
        "_reader", "_tasks", "_to_resume", "_turn", "assigns", "connection_id", "departures",
        "environment", "identity", "is_user_known", "memberships", "opened_at", "options",
        "params", "request", "resuming", "scopes", "subprotocol", "user_id",
    )  # fmt: skip

    def __init__(
        self,
        owner: SessionOwner,
        request: ConnectRequest,
        environment: Environment,
        *,
        params: Mapping[str, str],
        user_id: str,
        is_user_known: bool,
        assigns: dict[str, Any],
        greeting: list[Frame],
        identity: object = None,
        subprotocol: str | None = None,
    ) -> None:
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
        self.departures = 0  # so many names have ceased to be in `memberships` or in `resuming`
        # Besides `memberships`, what a client that comes back is to be joined to: what is being
        # joined for one that did, and, when all is over, what was joined at the end.
        self.resuming: Set[str] = _NOBODY
        self._to_resume: Sequence[ClientMessage] | None = None
        # Cancelled when the connection ends: joins that are not decided, and the like.
        self.scopes: dict[anyio.CancelScope, str | None] = {}
        self._owner = owner
        self._greeting: Sequence[Frame] = greeting
        self._life = Life.ADMITTED
        self._outlet: Outlet | None = None
        self._pull: Pull  # lent by `run`
        self._tasks: anyio.abc.TaskGroup | None = None
        self._context: Context  # where tasks of the connection run: a copy of it each
        self._reader: anyio.CancelScope | None = None
        self._leading = False
        self._close = _NO_CLOSE
        self._goodbye: Frame | None = None
        self._is_departing = False
        self._has_grace = False
        self._farewells: Sequence[Work] = ()
        self._ended: anyio.Event | None = None  # made by whoever waits for it
        self._inbox = Inbox(self, owner, environment)
        self._turn = environment.turn
        self._counting = environment.counting

    @property
    def path(self) -> str:
        """The path at which it was admitted."""
        return self.request.path

    @property
    def close_code(self) -> CloseCode:
        """Why it was closed; NORMAL: the peer went by itself, or the server did not say."""
        return self._close[0]

    @property
    def may_return(self) -> bool:
        """Whether the end of the connection, if it has ended, may be followed by a reconnect."""
        return self.close_code is CloseCode.NORMAL or self.close_code.reconnect

    @property
    def is_open(self) -> bool:
        """Whether it is being served: neither ended nor told to."""
        return self._life is _OPEN

    # --- the door's side ----------------------------------------------------------------------

    def resume(self, joins: Sequence[ClientMessage]) -> None:
        """Before `run`: have these joins asked for, where that is possible, and say so."""
        self._to_resume = joins

    async def run(self, outlet: Outlet, pull: Pull, context: Context | None = None) -> None:
        """Serve it, in a context if not the caller's, until `pull` gives None or it is closed."""
        self._outlet = outlet
        self._pull = pull
        self._context = copy_context() if context is None else context
        # Only a WebSocket's messages all come by its reader, so that while it reads nothing runs
        # here that may go on after the end: it needs no scope of its own.
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
            await self._say_farewells()
            if self.memberships:  # a door may still write, and say where it is
                self.resuming = self.resuming | self.memberships.keys()
            self.memberships.clear()  # a cycle that would keep channels until the next collection
            if self._ended is not None:
                self._ended.set()
            # They refer to the session: what is left is freed now, not at the next collection.
            self._outlet = self._reader = None
            self._inbox.end()
            del self._pull, self._inbox

    def post(self, body: bytes | Refusal) -> Refusal | None:
        """Take a message, or a JSON array of up to 64, that came by another way than `pull`.

        Or count a refusal of the door's. Not for a WebSocket: its end leaves no time to these.

        Returns:
            None if all of it is taken; handlers may still run. Else why nothing of it is.
        """
        if not self.is_open or self._tasks is None:
            return Refusal(404, "NOT_FOUND", "There is no such connection.")
        return self._inbox.post(body, self._run_entered)

    def _run_entered(self, entered: Entered) -> None:
        self._start(self._inbox.lanes.run, *entered)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the connection. Its memberships end now, the transport as soon as it can.

        The peer is told with a GOODBYE, except for NORMAL: then it asked for it.
        """
        code = CloseCode(code)  # a plain number would fail half-way
        if self._turn.rooms:
            self._turn.flush()  # while it is still sent something
        if not self._advance(LifeEvent.CLOSE):
            return
        self._close = (code, reason, code is CloseCode.SLOW_CONSUMER)
        self._farewells = self._owner.over(self)
        if code is not CloseCode.NORMAL and not (self._is_departing and code is CloseCode.RESTART):
            self._goodbye = answers.goodbye(code, reason, after_ms=0)
        # A handler that the reader drives this very moment may be who closes: it must not be
        # cancelled with the reader, which looks at the state as soon as it is back.
        if self._reader is not None and not self._leading:
            self._reader.cancel()

    def depart(self, seconds: float) -> None:
        """Tell the peer that the server restarts, and close the connection in so many seconds.

        Until then it is served as ever.
        """
        if self._life is Life.OPEN and not self._is_departing:
            self._is_departing = True
            self.send(answers.goodbye(CloseCode.RESTART, _RESTARTS, math.ceil(seconds * 1_000)))
            self.spawn(partial(self._depart, seconds))

    async def _depart(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.close(CloseCode.RESTART, _RESTARTS)

    async def wait_ended(self) -> None:
        """Wait until nothing of the connection is left."""
        if self._outlet is not None:  # it runs
            if self._ended is None:
                self._ended = self.environment.loop.new_event()
            await self._ended.wait()

    # --- the handlers' side -------------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        """Send a frame to this peer behind whatever waits for it; to one that is gone, nothing."""
        if self._turn.rooms:
            self._turn.flush()
        if not self.push(frame):
            self.overflow()

    @property
    def line(self) -> Line:
        """What takes broadcasts for it while it is open: the outlet itself, if nobody counts."""
        outlet = self._outlet
        return self if outlet is None or self._counting is not None else outlet

    def push(self, frame: Frame) -> bool:
        """Take a frame that nothing waits before, in no room; False: the outbox is full."""
        outlet = self._outlet
        if self._life is not _OPEN or outlet is None:
            return True
        if not outlet.push(frame):
            return False
        if self._counting is not None:
            self._counting.sent(frame.size, outlet.pending)
        return True

    def push_batch(self, batch: Batch) -> bool:
        """Take several."""
        return push_each(self.push, batch)

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """As an outlet's; to one that is gone, anything can be sent."""
        outlet = self._outlet
        if self._life is not Life.OPEN or outlet is None:
            return False
        return outlet.wait_for_room(callback, size)

    def overflow(self) -> None:
        """The peer reads slower than it is sent to: end it before it costs the others."""
        if self._life is Life.OPEN:
            self._owner.overflowed(self)

    def heartbeat(self) -> None:
        """Say something, so that nobody on the way takes the connection for dead."""
        self.send(answers.heartbeat())

    def dropped(self, frames: int) -> None:
        """So many frames were dropped on their way to the peer, which may be."""
        if self._life is Life.OPEN:  # what is not sent any more is not missed
            self._owner.dropped(self, frames)

    def caught_up(self) -> None:
        """The outlet that dropped frames is empty again."""
        self._owner.caught_up(self)

    def left(self, channel_name: str) -> None:
        """It is no member any more."""
        del self.memberships[channel_name]
        self.departures += 1

    def charge(self, faults: int) -> None:
        """Count what a message of so many faults has cost against the client's rates."""
        self._inbox.charge(faults)

    def spawn(self, work: Work) -> None:
        """Run something in a task that is cancelled when the connection ends."""
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
        """Start a task in the connection's context, not in that of whoever caused it."""
        if (tasks := self._tasks) is not None:
            self._context.copy().run(tasks.start_soon, self._see_through, work, *arguments)

    async def _see_through(
        self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> None:
        try:
            await work(*arguments)
        except BaseException as error:  # noqa: BLE001 - boundary: one connection
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End a connection that cannot go on; raise what its task must get."""
        failure = failure_of(error)
        _log.error("A connection failed (user=%r).", self.user_id, exc_info=failure)
        self.close(CloseCode.INTERNAL, "the server failed")

    # --- reading ------------------------------------------------------------------------------

    async def _read(self) -> None:
        with self.environment.loop.new_scope() as scope:
            await self._read_within(scope)

    async def _read_within(self, scope: anyio.CancelScope) -> None:
        self._reader = scope
        pull, inbox = self._pull, self._inbox
        unturned = 0
        try:
            while self._life is _OPEN:
                data = await pull()
                if data is None or self._life is not _OPEN:
                    return
                self._leading = True
                try:
                    begun = inbox.take(data)
                    data = None  # not to be kept while the next one is waited for
                    if begun is not None:
                        if await inbox.lanes.finish(*begun, self._hand_over):
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
            # Also where it is cancelled or `pull` fails, but not where somebody else reads by now.
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
            self._farewells = self._owner.over(self)
        for scope in self.scopes:
            scope.cancel()
        if self._outlet is not None:
            code, reason, abort = self._close
            self._outlet.end(code, reason, abort=abort, farewell=self._goodbye)
        if self._tasks is not None:
            if self._farewells:
                self._tasks.start_soon(self._say_farewells)
            if not self._inbox.lanes.idle:
                grace = self.options.handler_grace
                self._tasks.cancel_scope.deadline = anyio.current_time() + grace
                self._has_grace = True

    async def _say_farewells(self) -> None:
        """Run leave handlers, also where the server cancels us: nobody else will."""
        while self._farewells:
            farewells, self._farewells = self._farewells, ()
            with anyio.CancelScope(shield=True):
                await run_all(farewells)

    def _advance(self, event: LifeEvent) -> bool:
        following = LIVES.get((self._life, event))
        if following is None:
            return False
        self._life = following
        return True

    def _greet(self) -> None:
        entered, left = self._inbox.resume(self._to_resume or ())
        names = tuple(join.channel_name for _, join, _ in entered)
        if self._to_resume is not None:
            self.resuming = {*names}
            self.departures += 1
        resumed, others = (None, None) if self._to_resume is None else (names, left)
        supports = self._owner.supports
        self.send(answers.connected(self.user_id, self.connection_id, resumed, others, supports))
        greeting, self._greeting = self._greeting, ()
        for frame in greeting:
            self.send(frame)
        if self.is_open:
            self._owner.opened(self)
        self._to_resume = None
        for each in entered:
            self._start(self._run_resumed, each)

    async def _run_resumed(self, entered: Entered) -> None:
        try:
            await self._inbox.lanes.run(*entered)
        finally:
            if self.is_open:  # else nobody was asked, and whoever comes next is
                self.resuming = self.resuming - {entered[1].channel_name}
                self.departures += 1
