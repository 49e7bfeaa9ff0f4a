"""Lanes: messages of one connection to one channel, in order, without delaying other channels.

Leader and follower. The task that reads drives the handler itself. If the handler finishes without
waiting, as most do, that takes no other task, no loop turn and no coroutine but the handler's own.
At its first wait a new task takes over the reading, and this one stays with the handler to its end.
The handler never moves to another task, so its cancel scopes, locks and timeouts stay valid on
asyncio and trio. A task for each message would cost more than handling it
(tests/benchmarks/microbench.py, "event, the handler does nothing; core").

Every message is handled in a copy of the connection's context, so that only the handler that sets a
context variable sees it.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context, copy_context
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pondsocket_common import ClientActions, ClientMessage

from pondsocket._runtime.driving import drive

from .router import Connection

# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_JOIN: Final = ClientActions.JOIN_CHANNEL
_DONE: Final = object()

S = TypeVar("S", bound=Connection)

Handle: TypeAlias = Callable[[S, ClientMessage], Coroutine[Any, Any, None] | None]
"""Handles a message as far as possible without waiting. Returns the rest. Must not raise."""

PendingMessage: TypeAlias = tuple[
    Hashable, ClientMessage, int, Context | None, Coroutine[Any, Any, None] | None, object
]
"""A message that is not finished: its lane, the message, its size in bytes, its context, the rest
of the work, and what that waits for. If the context is None, its handling has not begun.
"""


class Lanes(Generic[S]):
    """The lanes of one connection, and their common bound.

    Args:
        handle: Handles the messages of `session` that no membership handles: joins, and those to
            channels that it is not in.
        max_messages, max_bytes: How much may be accepted and not yet handled.
    """

    __slots__ = (
        "_driven",
        "_handle_other",
        "_lanes",
        "_session",
        "bytes",
        "max_bytes",
        "max_messages",
        "messages",
    )

    def __init__(self, handle: Handle[S], session: S, max_messages: int, max_bytes: int) -> None:
        self._handle_other = handle
        self._session = session
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        # The lanes at work. A lane's queue is made when a second message comes.
        self._lanes: dict[Hashable, deque[tuple[ClientMessage, int]] | None] = {}
        # How much is accepted and not yet handled, without the message that `begin` drives now.
        # Most messages are handled within `begin`, and never counted: microbench.py, "event, the
        # handler does nothing; core".
        self.messages = 0
        self.bytes = 0
        self._driven: int | None = None  # the size of that message

    @property
    def idle(self) -> bool:
        """Whether no message is being handled."""
        return not self._lanes

    def has_room(self, messages: int, size: int) -> bool:
        """Return whether this much more may be accepted."""
        if self._driven is not None:  # its handler posts to its own connection
            messages, size = messages + 1, size + self._driven
        return self.messages + messages <= self.max_messages and self.bytes + size <= self.max_bytes

    def enter(self, lane: Hashable, message: ClientMessage, size: int) -> PendingMessage | None:
        """Add a message to its lane.

        Returns:
            The message if the lane was idle: it must be given to `finish`.
        """
        self.messages += 1
        self.bytes += size
        if lane not in self._lanes:
            self._lanes[lane] = None
            return lane, message, size, None, None, None
        queue = self._lanes[lane]
        if queue is None:
            queue = self._lanes[lane] = deque()
        queue.append((message, size))
        return None

    def begin(self, lane: Hashable, message: ClientMessage, size: int) -> PendingMessage | None:
        """Add a message to its lane; if that is idle, handle it as far as possible without waiting.

        Returns:
            The rest, for `finish`; None if there is none.
        """
        lanes = self._lanes
        if lane in lanes:
            self.enter(lane, message, size)
            return None
        lanes[lane] = None
        self._driven = size
        context = copy_context()
        waited_for: object = None
        try:
            # As `_handle`, without the call: microbench.py, "event, the handler replies; core".
            member = None
            if message.action is not _JOIN:
                member = self._session.memberships.get(message.channel_name)
            if member is None:
                rest = context.run(self._handle_other, self._session, message)
            else:
                rest = context.run(member.handle, message)
            if rest is not None:
                # As `_begin`, likewise.
                try:
                    waited_for = context.run(rest.send, None)
                except StopIteration:
                    rest = None
        except BaseException:
            del lanes[lane]
            self._driven = None
            raise
        self._driven = None
        # A message may be queued behind it already: a handler may post to its own session.
        if rest is not None or lanes[lane] is not None:
            self.messages += 1
            self.bytes += size
            return lane, message, size, context, rest, waited_for
        if len(lanes) == 1 and message.action is _JOIN:
            # Frees the dict's table, as many members only listen from now on: 0.1 KiB each of
            # `python -m tests.benchmarks`, "Memory of an idle member".
            lanes.clear()
        else:
            del lanes[lane]
        return None

    def _handle(self, message: ClientMessage) -> Coroutine[Any, Any, None] | None:
        if message.action is not _JOIN:
            member = self._session.memberships.get(message.channel_name)
            if member is not None:
                return member.handle(message)
        return self._handle_other(self._session, message)

    async def finish(
        self,
        lane: Hashable,
        message: ClientMessage,
        size: int,
        context: Context | None,
        rest: Coroutine[Any, Any, None] | None,
        waited_for: object,
        on_wait: Callable[[], None] | None = None,
    ) -> bool:
        """Handle a pending message, and those queued behind it meanwhile.

        Returns:
            Whether any of them waited. If so, `on_wait` was called once.
        """
        waited = False
        try:
            while True:
                if context is None:
                    context = copy_context()
                    rest = context.run(self._handle, message)
                    if rest is not None and (waited_for := _begin(rest, context)) is _DONE:
                        rest = None
                if rest is not None:
                    if not waited and on_wait is not None:
                        on_wait()
                    waited = True
                    await drive(rest, context=context, waited_for=waited_for)
                self.messages -= 1
                self.bytes -= size
                queue = self._lanes[lane]
                if not queue:
                    return waited
                message, size = queue.popleft()
                context = None
        finally:
            del self._lanes[lane]


def _begin(rest: Coroutine[Any, Any, None], context: Context) -> object:
    """Drive the rest of a handler to its first wait. Return what it waits for, or `_DONE`."""
    try:
        return context.run(rest.send, None)
    except StopIteration:
        return _DONE
