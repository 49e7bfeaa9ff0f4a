"""The tasks of one connection, on asyncio: what they need is made when the first one starts.

Most connections start no task besides the server's own, and a task group of anyio costs more than
most of what is done for a new connection (tests/benchmarks/microbench.py, "connect; core and
adapter", and `python -m tests.benchmarks`, "Memory of an idle member"). On trio, anyio's groups
are used as they are: a nursery has to be open before its tasks.
"""

import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Protocol, Self

import anyio
import anyio.abc

# As anyio's groups say it.
_FAILED: Final = "unhandled errors in a TaskGroup"


class SideGroup(Protocol):
    """Tasks beside a block that waits for them: a task group of anyio, or `SideTasks`."""

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> object:
        """Start a task in a copy of the caller's context."""
        ...

    async def __aenter__(self) -> Self:
        """Begin the block."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        """End it: wait for the tasks, or cancel them if the block has failed."""
        ...


class Group(SideGroup, Protocol):
    """A group of tasks in one scope: one of anyio, or a `LateGroup`."""

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the block and of the tasks."""
        ...


class LateGroup:
    """A task group of anyio, of which there is only the scope until a task is started.

    The scope has to be there from the start: scopes nest, and the first task may be started by a
    handler that the block is at, inside the handler's own scopes.

    Args:
        new_scope, new_group: anyio's own classes for asyncio.
    """

    __slots__ = ("_group", "_is_over", "_new_group", "cancel_scope")

    def __init__(
        self,
        new_scope: Callable[[], anyio.CancelScope],
        new_group: Callable[[], anyio.abc.TaskGroup],
    ) -> None:
        self.cancel_scope: anyio.CancelScope = new_scope()
        self._new_group = new_group
        self._group: anyio.abc.TaskGroup | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        self.cancel_scope.__enter__()
        return self

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        """Start a task in a copy of the caller's context.

        Raises:
            RuntimeError: The block has ended.
        """
        (self._group or self._made_group()).start_soon(work, *args)

    def _made_group(self) -> anyio.abc.TaskGroup:
        if self._is_over:
            raise RuntimeError("The block has ended; no task can be started.")
        self._group = group = within(self._new_group(), self.cancel_scope)
        return group

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        group = self._group
        if group is None:
            if exc is None:
                self._is_over = True
                return self.cancel_scope.__exit__(None, None, None)
            group = self._made_group()  # for what it does with exceptions and cancellations
        try:
            return await group.__aexit__(exc_type, exc, traceback)
        finally:
            del exc, traceback  # which refer to this frame if it is raised again


class _Entered:
    """In place of a scope that a group would enter."""

    def __enter__(self) -> Self:
        return self


def within(group: anyio.abc.TaskGroup, scope: anyio.CancelScope) -> anyio.abc.TaskGroup:
    """Begin a new group whose scope has been entered already. Return the group.

    Raises:
        RuntimeError: This version of anyio's groups does more than enter the scope.
    """
    stand_in: Any = _Entered()
    group.cancel_scope = stand_in
    beginning: Any = group.__aenter__()
    try:
        beginning.send(None)
    except StopIteration:
        group.cancel_scope = scope
        return group
    beginning.close()
    raise RuntimeError("A task group of anyio waits when it begins.")


class SideTasks:
    """Tasks beside the task that runs a block, which has no scope of its own.

    As a task group, the block waits for the tasks, and cancels them if it fails or is cancelled;
    and if one of them fails, the others and the block are cancelled. But a scope around the block
    costs as much as all the rest, so each task has its own. The block is cancelled as a task group
    of asyncio does it, which no scope in the block shields. So it is only for tasks that do not
    fail but by a mistake of this package.

    Args:
        new_scope: anyio's own class for asyncio.
    """

    __slots__ = (
        "_asyncio",
        "_cancelling",
        "_failures",
        "_has_cancelled_host",
        "_host",
        "_is_cancelled",
        "_new_scope",
        "_running",
        "_waiter",
    )

    def __init__(self, new_scope: Callable[[], anyio.CancelScope]) -> None:
        self._new_scope = new_scope
        self._asyncio: Any = sys.modules["asyncio"]
        self._host: Any = None  # while the block runs
        self._cancelling = 0
        self._running: dict[Any, anyio.CancelScope] | None = None
        self._failures: list[BaseException] | None = None
        self._waiter: Any = None
        self._is_cancelled = False
        self._has_cancelled_host = False

    async def __aenter__(self) -> Self:
        self._host = host = self._asyncio.current_task()
        self._cancelling = host.cancelling()
        return self

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        """Start a task in a copy of the caller's context.

        Raises:
            RuntimeError: The block has ended.
        """
        running = self._running
        if running is None:
            if self._host is None:
                raise RuntimeError("The block has ended; no task can be started.")
            running = self._running = {}
        scope = self._new_scope()
        if self._is_cancelled:
            scope.cancel()
        task = self._asyncio.get_running_loop().create_task(_within(scope, work, args))
        running[task] = scope
        task.add_done_callback(self._note_end)

    def _note_end(self, task: Any) -> None:
        running, waiter = self._running, self._waiter
        if running is not None:
            del running[task]
        if not running and waiter is not None and not waiter.done():
            waiter.set_result(None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failures = [*(self._failures or ()), error]
        elif not task.cancelled() or self._is_cancelled:
            return
        self._cancel()
        if self._host is not None and not self._has_cancelled_host:
            self._has_cancelled_host = True
            self._host.cancel()

    def _cancel(self) -> None:
        self._is_cancelled = True
        for scope in [*(self._running or {}).values()]:
            scope.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        host, self._host = self._host, None  # from now on only the wait below is cancelled
        if exc is not None:
            self._cancel()
        cancelled = await self._wait()
        self._running = None
        if not isinstance(exc, self._asyncio.CancelledError):
            ours = exc
        else:
            ours, cancelled = None, cancelled or exc
        if self._has_cancelled_host and host.uncancel() <= self._cancelling:
            cancelled = None
        failures, self._failures = self._failures or [], None
        if ours is not None:
            failures.insert(0, ours)
        if failures:
            raise BaseExceptionGroup(_FAILED, failures) from None
        if cancelled is None:
            return exc is not None
        if cancelled is exc:
            return None
        try:
            raise cancelled
        finally:
            del exc, cancelled, host  # which refer to this frame

    async def _wait(self) -> BaseException | None:
        """Wait for the tasks. Return the cancellation of this wait, which ends them."""
        cancelled: BaseException | None = None
        while self._running:
            self._waiter = self._asyncio.get_running_loop().create_future()
            try:
                if self._is_cancelled:
                    # Else a scope around it would cancel the wait again in each turn of the loop.
                    with self._new_scope() as scope:
                        scope.shield = True
                        await self._waiter
                else:
                    await self._waiter
            except self._asyncio.CancelledError as error:
                cancelled = error
                self._cancel()
        try:
            return cancelled
        finally:
            del cancelled  # whose traceback refers to this frame


async def _within(
    scope: anyio.CancelScope, work: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]
) -> None:
    with scope:
        await work(*args)
