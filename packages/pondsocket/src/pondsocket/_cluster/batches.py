"""What this node writes to the engine: combined, in order, one batch in flight.

Operations that come while a batch is in flight make the next one, so the busier the node, the less
each costs. A batch whose result was lost is sent again with its number, which the engine carries
out once.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import anyio

from pondsocket._errors import UsageError
from pondsocket._log import get_log
from pondsocket._runtime.loop import failure_of
from pondsocket.backplane import (
    MAX_BYTES,
    MAX_OPS,
    Append,
    Backplane,
    BackplaneUnavailable,
    Emit,
    LinkLost,
    Op,
    PublishUncertain,
    Result,
)

_log: Final = get_log("pondsocket.cluster")
# Names and numbers of an operation, besides its data.
_OP_BYTES: Final = 128

OnResult: TypeAlias = Callable[[Result | Exception], None]
"""Called with the result of an operation, or why there is none."""


def _ignore(_: Result | Exception) -> None:
    return


class Operation:
    """An operation on its way.

    Attributes:
        op: None if it only marks a place in the queue.
        deadline: When it is given up; infinite for one that must be carried out in the end.
        is_over: Whether `on_result` was called.
    """

    __slots__ = ("deadline", "is_over", "on_result", "op", "size")

    def __init__(self, op: Op | None, on_result: OnResult, deadline: float) -> None:
        self.op = op
        self.on_result = on_result
        self.deadline = deadline
        self.is_over = False
        self.size = _OP_BYTES
        if isinstance(op, Append | Emit):
            self.size += len(op.data)

    def end(self, result: Result | Exception) -> None:
        """Tell its result, once."""
        if self.is_over:
            return
        self.is_over = True
        try:
            self.on_result(result)
        except Exception as error:  # noqa: BLE001 - boundary: one operation of a batch
            _log.error("A result was not taken.", exc_info=failure_of(error))


class Batches:
    """The queue of operations, and the task that writes them.

    Args:
        max_bytes: How many bytes may wait.

    Attributes:
        links: How many links there have been.
    """

    def __init__(self, backplane: Backplane, *, max_bytes: int) -> None:
        self._backplane = backplane
        self._max_bytes = max_bytes
        self._queue: deque[Operation] = deque()
        self._bytes = 0
        self._in_flight: list[Operation] = []
        self._seq = 0
        self._is_up = False
        self.links = 0
        self._lost = 0  # messages that nothing keeps, given up since the latest link
        self._work: anyio.Event | None = None  # set when there is something to do

    def add(
        self, op: Op | None, on_result: OnResult = _ignore, *, seconds: float = math.inf
    ) -> None:
        """Queue an operation; None: only tell when all before it are carried out.

        Args:
            seconds: How long it may take. An operation without a limit is always accepted.

        Raises:
            BackplaneUnavailable: Too much waits, or the node does not run.
        """
        operation = Operation(op, on_result, anyio.current_time() + seconds)
        if self._work is None and seconds == math.inf:
            operation.end(BackplaneUnavailable())  # its lease ends with the node
            return
        is_full = seconds != math.inf and self._bytes + operation.size > self._max_bytes
        if is_full or self._work is None:
            raise BackplaneUnavailable
        self._queue.append(operation)
        self._bytes += operation.size
        self._wake()

    @property
    def is_up(self) -> bool:
        """Whether there is a link."""
        return self._is_up

    def resume(self) -> None:
        """Note that there is a link."""
        if self._lost:
            _log.warning("%s messages did not reach the other servers.", self._lost)
            self._lost = 0
        self._is_up = True
        self.links += 1
        self._wake()

    def pause(self) -> None:
        """Note that there is none."""
        self._is_up = False

    def _wake(self) -> None:
        if self._work is not None:
            self._work.set()

    async def run(self) -> None:
        """Write what is queued, until cancelled."""
        if self._work is not None:
            raise UsageError("These batches are being written already.")
        self._work = anyio.Event()
        try:
            while True:
                self._work = anyio.Event()
                if self._is_up and (self._queue or self._in_flight):
                    await self._write()
                else:
                    await self._work.wait()
        finally:
            self._work = None
            self._is_up = False
            self._give_up()

    def _give_up(self) -> None:
        """End all that waits: the node has ended."""
        in_flight, queue = self._in_flight, self._queue
        self._in_flight, self._queue, self._bytes = [], deque(), 0
        for each in in_flight:
            each.end(PublishUncertain())
        for each in queue:
            each.end(BackplaneUnavailable())

    async def _write(self) -> None:
        batch = self._in_flight
        if not batch:
            batch = self._in_flight = self._take()
            self._seq += 1
        ops = [each.op for each in batch if each.op is not None]
        results: Sequence[Result | Exception] = ()
        link = self.links
        try:
            if ops:
                results = await self._backplane.apply(self._seq, ops)
        except (BackplaneUnavailable, LinkLost):
            self._note_end(link)
            return
        except PublishUncertain as uncertain:
            self._note_end(link)
            self.count_lost(len(ops))
            results = [uncertain] * len(ops)
        self._in_flight = []
        waiting = iter(results)
        for each in batch:
            each.end(None if each.op is None else next(waiting))

    def _note_end(self, link: int) -> None:
        if link == self.links:
            self._is_up = False  # until the next link, which may have begun meanwhile

    def _take(self) -> list[Operation]:
        batch: list[Operation] = []
        size = 0
        while self._queue and len(batch) < MAX_OPS:
            following = self._queue[0]
            if batch and size + following.size > MAX_BYTES:
                break
            self._queue.popleft()
            self._bytes -= following.size
            if not following.is_over:
                batch.append(following)
                size += following.size
        return batch

    def count_lost(self, messages: int = 1) -> None:
        """Count messages that do not reach the other nodes, and that nothing keeps."""
        self._lost += messages

    def expire(self) -> None:
        """Give up what has waited for too long. To be called several times a second."""
        now = anyio.current_time()
        self.count_lost(sum(isinstance(each.op, Emit) for each in self._over(self._queue, now)))
        for each in self._over(self._queue, now):
            each.end(BackplaneUnavailable())
        if any(each.is_over for each in self._queue):
            self._queue = deque(each for each in self._queue if not each.is_over)
            self._bytes = sum(each.size for each in self._queue)
        for each in self._over(self._in_flight, now):
            each.end(PublishUncertain())
        if self._in_flight and not self._is_up and all(each.is_over for each in self._in_flight):
            # The caller has been told, and would not expect it any more. A later number makes a
            # late copy of it stale.
            self._in_flight = []

    @staticmethod
    def _over(operations: Sequence[Operation] | deque[Operation], now: float) -> list[Operation]:
        return [each for each in operations if each.deadline <= now and not each.is_over]

    async def settle(self, *, seconds: float = math.inf) -> None:
        """Wait until all that is queued now is carried out.

        Raises:
            BackplaneUnavailable: There is no link, or it takes longer.
        """
        if not self._queue and not self._in_flight:
            return
        if not self._is_up:
            raise BackplaneUnavailable
        done = anyio.Event()
        failure: Exception | None = None

        def end(result: Result | Exception) -> None:
            nonlocal failure
            failure = result if isinstance(result, Exception) else None
            done.set()

        self.add(None, end, seconds=seconds)
        await done.wait()
        if failure is not None:
            raise BackplaneUnavailable from failure
