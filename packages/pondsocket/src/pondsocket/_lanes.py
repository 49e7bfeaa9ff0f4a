"""Lanes: messages of one connection to one channel in order, one at a time, others unhindered.

Leader and follower. The task that reads drives the handler itself. If the handler finishes without
waiting, as most do, there was no task, no turn of the event loop and no coroutine but the handler's
own. At its first wait a fresh task takes over the reading, and this one stays with the handler to
its end: the handler never moves to another task, so its cancel scopes, locks and timeouts stay
valid on asyncio and trio alike. A task for each message would cost more than handling it does
(tests/benchmarks/microbench.py, "event, the handler does nothing; core").

Every message is handled in a copy of the connection's context, so that a context variable which a
handler sets is seen by nothing but that handler.
"""

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias

from pondsocket_common import ClientMessage

Handle: TypeAlias = Callable[[ClientMessage], Coroutine[Any, Any, None] | None]
"""Handles a message as far as it goes without waiting; gives what is left. Must not raise."""

Begun: TypeAlias = tuple[Hashable, int, Context, Coroutine[Any, Any, None] | None]
"""A message that is not done with: its lane and size, where it is handled, and what is left."""


@types.coroutine
def lead(
    work: Coroutine[Any, Any, None],
    on_wait: Callable[[], None] | None,
    context: Context | None = None,
) -> Generator[Any, Any, bool]:
    """Drive `work` to its end, calling `on_wait` if and when it first waits; True if it did."""
    run = (copy_context() if context is None else context).run
    try:
        waited_for = run(work.send, None)
    except StopIteration:
        return False
    if on_wait is not None:
        on_wait()
    while True:
        try:
            value = yield waited_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - cancellation, or a failure of what was awaited:
            step = partial(work.throw, exc)  # both are the handler's to deal with
        else:
            step = partial(work.send, value)
        try:
            waited_for = run(step)
        except StopIteration:
            return True


class Lanes:
    """The lanes of one connection, and the bound on what they hold together.

    Args:
        handle: Handles one message.
        max_messages, max_bytes: What may be taken and not yet handled.
    """

    __slots__ = ("_handle", "_lanes", "bytes", "max_bytes", "max_messages", "messages")

    def __init__(
        self,
        handle: Handle,
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self._handle = handle
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        # A key stands for a lane at work; its queue is made when a second message comes.
        self._lanes: dict[Hashable, deque[tuple[ClientMessage, int]] | None] = {}
        # What is taken and not yet handled.
        self.messages = 0
        self.bytes = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is being handled."""
        return not self._lanes

    def has_room(self, messages: int, size: int) -> bool:
        """Whether this much more may be taken."""
        return self.messages + messages <= self.max_messages and self.bytes + size <= self.max_bytes

    def enter(self, lane: Hashable, message: ClientMessage, size: int) -> bool:
        """Take a message into its lane; True if the lane was idle and must be `run` now."""
        self.messages += 1
        self.bytes += size
        if lane not in self._lanes:
            self._lanes[lane] = None
            return True
        queue = self._lanes[lane]
        if queue is None:
            queue = self._lanes[lane] = deque()
        queue.append((message, size))
        return False

    def begin(self, lane: Hashable, message: ClientMessage, size: int) -> Begun | None:
        """Take a message; handle it as far as it goes at once, if its lane is idle.

        Returns:
            What is not done, to be given to `finish`; None if there is nothing.
        """
        lanes = self._lanes
        if lane in lanes:
            self.enter(lane, message, size)
            return None
        lanes[lane] = None
        self.messages += 1
        self.bytes += size
        context = copy_context()
        is_done = False
        try:
            rest = context.run(self._handle, message)
            # Something may be queued behind it already: a handler may post to its own session.
            is_done = rest is None and lanes[lane] is None
        except BaseException:
            del lanes[lane]
            raise
        if not is_done:
            return lane, size, context, rest
        del lanes[lane]
        self.messages -= 1
        self.bytes -= size
        return None

    async def run(
        self,
        lane: Hashable,
        message: ClientMessage,
        size: int,
        on_wait: Callable[[], None] | None = None,
    ) -> bool:
        """Handle a message that `enter` said to run, and what queues behind it meanwhile.

        Returns:
            Whether any of it waited, in which case `on_wait` was called, once.
        """
        context = copy_context()
        try:
            rest = context.run(self._handle, message)
        except BaseException:
            del self._lanes[lane]
            raise
        return await self.finish(lane, size, context, rest, on_wait)

    async def finish(
        self,
        lane: Hashable,
        size: int,
        context: Context,
        rest: Coroutine[Any, Any, None] | None,
        on_wait: Callable[[], None] | None = None,
    ) -> bool:
        """Handle what `begin` has left over, and what queues behind it; all else as `run`."""
        waited = False
        try:
            while True:
                if rest is not None:
                    waited |= await lead(rest, None if waited else on_wait, context)
                self.messages -= 1
                self.bytes -= size
                queue = self._lanes[lane]
                if not queue:
                    return waited
                message, size = queue.popleft()
                context = copy_context()
                rest = context.run(self._handle, message)
        finally:
            del self._lanes[lane]
