"""Lanes: messages of one connection to one channel in order, one at a time, others unhindered.

Leader and follower. The task that reads drives the handler itself. If the handler finishes
without waiting, as most do, there was no task and no turn of the event loop. At its first wait a
fresh task takes over the reading, and this one stays with the handler to its end: the handler
never moves to another task, so its cancel scopes, locks and timeouts stay valid on asyncio and
trio alike. A task for each message would cost more than handling it does.

Every message is handled in a copy of the connection's context, so that a context variable which a
handler sets is seen by nothing but that handler.
"""

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from contextvars import copy_context
from functools import partial
from typing import Any

from pondsocket_common import ClientMessage


@types.coroutine
def lead(
    work: Coroutine[Any, Any, None], on_wait: Callable[[], None] | None
) -> Generator[Any, Any, bool]:
    """Drive `work` to its end, calling `on_wait` if and when it first waits; True if it did."""
    run = copy_context().run
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
        handle: Handles one message; must not raise.
        max_messages, max_bytes: What may be taken and not yet handled.
    """

    __slots__ = ("_bytes", "_handle", "_lanes", "_max_bytes", "_max_messages", "_messages")

    def __init__(
        self,
        handle: Callable[[ClientMessage], Coroutine[Any, Any, None]],
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self._handle = handle
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        # A key stands for a lane at work; its queue is made when a second message comes.
        self._lanes: dict[Hashable, deque[tuple[ClientMessage, int]] | None] = {}
        self._messages = 0
        self._bytes = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is being handled."""
        return not self._lanes

    def has_room(self, messages: int, size: int) -> bool:
        """Whether this much more may be taken."""
        return (
            self._messages + messages <= self._max_messages
            and self._bytes + size <= self._max_bytes
        )

    def enter(self, lane: Hashable, message: ClientMessage, size: int) -> bool:
        """Take a message into its lane; True if the lane was idle and must be `run` now."""
        self._messages += 1
        self._bytes += size
        if lane not in self._lanes:
            self._lanes[lane] = None
            return True
        queue = self._lanes[lane]
        if queue is None:
            queue = self._lanes[lane] = deque()
        queue.append((message, size))
        return False

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
        waited = False
        try:
            while True:
                waited |= await lead(self._handle(message), None if waited else on_wait)
                self._messages -= 1
                self._bytes -= size
                queue = self._lanes[lane]
                if not queue:
                    return waited
                message, size = queue.popleft()
        finally:
            del self._lanes[lane]
