"""Reads the messages of a connection, one task at a time, and runs the connection's tasks.

The task that reads leads the handler of a message to its first wait, and then hands the reading
over to another task: see `lanes`. So reading goes on while handlers wait, and a disconnect is
noticed at once.

Where the server's protocol and the event loop allow it, a message is taken in the callback in which
it arrives, under the task that waits for it: see `Reading.take_now` and `LentTask`. If its handler
waits, that task goes on with it.
"""

import math
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
from pondsocket_common import GATEWAY, CloseCode, ErrorTypes

from pondsocket._delivery import replies
from pondsocket._log import about, get_log
from pondsocket._runtime.driving import (
    LentTask,
    cancel_again,
    is_taken_back,
    lent_task,
    mark_awaited,
)
from pondsocket._runtime.groups import Group
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import SERVED, LifeEvent
from pondsocket._state.request import Refusal
from pondsocket._telemetry.failures import ErrorContext

from .ending import Ending
from .inbound import Inbound
from .lanes import PendingMessage
from .router import Connection

Pull: TypeAlias = Callable[[], Awaitable[Any]]
Read: TypeAlias = Callable[[Any], str | bytes | None]

_log: Final = get_log("pondsocket.session")

# Messages that are handled without waiting never give the event loop a turn. So the reader gives
# one after this many, before the broadcasts of one client's burst fill the outboxes of the
# members, whose writers wait for that turn.
_MESSAGES_PER_TURN: Final = 16
# The task is lent after this many in a row whose handlers have not waited. So nothing is made for
# clients that only join and listen, nor where most handlers wait.
_MESSAGES_BEFORE_LENDING: Final = 2
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_OPEN: Final = LifeEvent.OPEN

S = TypeVar("S", bound=Connection)


class Lender(Protocol):
    """What `pull` is of, if it can call back when a message comes in."""

    def lend(self, most_bytes: int | None, take_now: Callable[[str | bytes], bool]) -> None:
        """Have `take_now` take the messages of up to so many bytes that come while `pull` waits.

        What it returns False for, `pull` is to return, before any other message.
        """
        ...


class Reading(Generic[S]):
    """The reader of one connection, and the tasks beside it.

    Args:
        context: Each task runs in a copy of it; None: of the caller's.
        read: Returns the message in what `pull` has returned; None: that is the message itself.
        lender: Calls `take_now` while the task waits in `pull`, which is its own.
    """

    __slots__ = (
        "_begun",
        "_context",
        "_ending",
        "_leading",
        "_lender",
        "_lent",
        "_pull",
        "_read",
        "_reader",
        "_session",
        "_tasks",
        "host",
        "inbound",
    )

    def __init__(
        self,
        session: S,
        ending: Ending[S],
        pull: Pull,
        context: Context | None,
        read: Read | None = None,
        lender: Lender | None = None,
    ) -> None:
        self._session = session
        self._ending = ending
        self._pull = pull
        self._read = read
        self._context = copy_context() if context is None else context
        self._tasks: Group | None = None
        self.host: object = None  # the task that runs the connection, once it does
        # The scope of the task that reads, and whether that task is at a handler.
        self._reader: anyio.CancelScope | None = None
        self._leading = False
        self._lender = lender
        self._lent: LentTask | None = None  # the task that reads, where it can be lent
        # What is left of a message that `take_now` has begun, for the task that reads.
        self._begun: tuple[PendingMessage | None, BaseException | None] | None = None
        self.inbound = Inbound(session, ending.router, session.environment)

    def begin(self, tasks: Group) -> bool:
        """Open the connection, whose tasks run in this group. False if it is closed already."""
        self._tasks = tasks
        self.host = self._session.environment.loop.current_task()
        return self._ending.advance(_OPEN)

    def end(self) -> None:
        """End the connection, if it has not ended. From now on, no task can be started."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            scope = tasks.cancel_scope
            if scope.cancelled_caught and scope.deadline < math.inf:  # see `_end_connection`
                grace = self._session.environment.options.handler_grace
                text = "Handlers ran %s s past their connection and were cancelled."
                _log.warning(text, grace, extra=about(self._session))
        self._end_connection()

    def stop(self) -> None:
        """Stop reading, now that the connection is closed."""
        # The caller may be a handler that the reader is driving now. It must not be cancelled with
        # the reader, which checks the state as soon as the handler returns.
        if self._reader is not None and not self._leading:
            self._reader.cancel()

    def post(self, body: bytes | Refusal) -> Refusal | None:
        """Accept messages that do not come from `pull`; see `Session.post`."""
        try:
            return self.inbound.post(body, self.start_pending)
        except BaseException as error:  # noqa: BLE001 - boundary: one connection
            self.fail(error)
            return Refusal(500, ErrorTypes.INTERNAL_SERVER_ERROR, replies.INTERNAL)

    # --- tasks --------------------------------------------------------------------------------

    def start(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> None:
        """Start a task in a copy of the connection's context, not of the caller's."""
        if (tasks := self._tasks) is not None:
            self._context.copy().run(tasks.start_soon, self._run_to_end, work, *arguments)

    def start_pending(self, pending: PendingMessage) -> None:
        """Handle a message in a task of its own."""
        self.start(self.inbound.lanes.finish, *pending)

    def spawn(self, work: Work) -> None:
        """Run `work` in a task that is cancelled when the connection ends."""
        scope = self._session.environment.loop.new_scope()
        self._ending.scopes[scope] = None
        self.start(self._run_within, scope, work)

    async def _run_within(self, scope: anyio.CancelScope, work: Work) -> None:
        with scope:
            try:
                await work()
            finally:
                self._ending.scopes.pop(scope, None)

    async def _run_to_end(
        self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> None:
        try:
            await work(*arguments)
        except BaseException as error:  # noqa: BLE001 - boundary: one connection
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Close a connection that has failed. Raise what its task must get: see `failure_of`."""
        failure = failure_of(error)
        session = self._session
        text, extra = "A connection failed (user=%r).", about(session)
        _log.error(text, session.user_id, exc_info=failure, extra=extra)
        failed = GATEWAY, "TASK", session.user_id, session.path
        session.environment.failures.report(ErrorContext(failure, "task", None, *failed))
        session.close(CloseCode.INTERNAL, "the server failed")

    # --- reading ------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read to the end, or until another task reads."""
        with self._session.environment.loop.new_scope() as scope:
            await self.read_within(scope)

    async def read_within(self, scope: anyio.CancelScope) -> None:
        """Read likewise, in a scope that is cancelled if the connection is closed."""
        self._reader = scope
        pull, read, inbound, ending = self._pull, self._read, self.inbound, self._ending
        since_turn = 0
        try:
            while ending.life in SERVED:
                try:
                    data = await pull()
                except BaseException as error:
                    if self._begun is None:
                        if self._lent is not None and is_taken_back(error):
                            continue
                        raise
                    if not cancel_again(error):
                        raise
                    data = await pull()  # which returns at once; the handler is cancelled
                # Not in a coroutine of the adapter's, which would be there while nothing comes:
                # `python -m tests.benchmarks`, "Memory of an idle member".
                if read is not None:
                    data = read(data)
                if self._begun is None and (data is None or ending.life not in SERVED):
                    return
                self._leading = True
                try:
                    pending = inbound.take(data) if self._begun is None else self._take_begun()
                    data = None  # not kept while the reader waits for the next one
                    if pending is not None:
                        if await inbound.lanes.finish(*pending, self._hand_over):
                            return  # another task reads now
                        pending = None
                except BaseException as error:  # noqa: BLE001 - boundary: one connection
                    self.fail(error)
                    return
                self._leading = False
                since_turn += 1
                if since_turn == _MESSAGES_BEFORE_LENDING and self._lent is None:
                    self._begin_lending()
                if since_turn == _MESSAGES_PER_TURN:
                    since_turn = 0
                    await anyio.lowlevel.checkpoint()
        except BaseException as error:
            if not isinstance(error, Exception):  # which `pull` raises where the peer is gone
                ending.fail()
            raise
        finally:
            # Also if it is cancelled or `pull` fails, but not if another task reads by now.
            if self._reader is scope:
                self._end_connection()

    # --- while the task that reads waits ------------------------------------------------------

    def _begin_lending(self) -> None:
        if self._lender is not None:
            self._lent = lent_task()
            if self._lent is not None:
                most_bytes = self._session.environment.options.max_message_bytes
                self._lender.lend(most_bytes, self.take_now)

    def take_now(self, data: str | bytes) -> bool:
        """Handle a message as far as possible without waiting, in the task that waits in `pull`.

        To be called by a callback of the event loop, if no other message waits.

        Returns:
            False if there is more to do: `pull` must return the message, before any other.
        """
        lent = self._lent
        if lent is None:
            return False
        try:
            lent.enter()
        except RuntimeError:  # the caller is a task
            return False
        self._leading = True
        try:
            pending = lent.run(self.inbound.take, data)
        except BaseException as error:  # noqa: BLE001 - raised again in the task
            self._begun = None, error
            return False
        finally:
            lent.leave()
        if pending is not None:
            mark_awaited(pending[-1], is_awaited=False)
        elif self._ending.life in SERVED:
            self._leading = False
            return True
        self._begun = pending, None
        return False

    def _take_begun(self) -> PendingMessage | None:
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        pending, error = begun
        if error is None:
            return pending
        try:
            raise error
        finally:
            del begun, error  # which refers to this frame now

    def _hand_over(self) -> None:
        self._leading = False
        self._reader = self._lent = None
        if self._ending.life in SERVED and self._tasks is not None:
            self._tasks.start_soon(self.read)
        else:
            self._end_connection()

    def _end_connection(self) -> None:
        tasks = self._tasks
        if not self._ending.end(self._session, tasks):
            return
        if tasks is not None and not self.inbound.lanes.idle:
            grace = self._session.environment.options.handler_grace
            tasks.cancel_scope.deadline = anyio.current_time() + grace
