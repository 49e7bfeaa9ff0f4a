"""Work to be awaited, and groups of tasks that another task may end."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio

from pondsocket._errors import UsageError

from .loop import running_asyncio
from .plain_calls import plain_callers

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Starts work that is to be awaited later."""


async def run_all(works: Sequence[Work]) -> None:
    """Run several at once, and wait for all. Each has its own time limit."""
    if len(works) == 1:
        await works[0]()
    elif works:
        async with anyio.create_task_group() as tasks:
            for work in works:
                tasks.start_soon(work)


def waiting_tasks() -> set[int]:
    """Return the ids of this task and of all tasks that wait for it.

    A task of a group is waited for by the task that began the group, and the task of a call from a
    plain function by the task of its handler. A task that asyncio itself has started, by none.
    """
    here = anyio.get_current_task()
    found = {here.id}
    ahead = [*plain_callers.get([]), here.parent_id]
    if ahead == [None]:
        return found  # as there may be thousands of tasks
    parents = {each.id: each.parent_id for each in anyio.get_running_tasks()}
    while ahead:
        task = ahead.pop()
        if task is not None and task not in found:
            found.add(task)
            ahead.append(parents.get(task))
    return found


class Tasks(ABC):
    """A group of tasks: `async with tasks:` waits for them, as a task group does."""

    is_movable: bool
    """Whether any task may leave the block, and several blocks may end in any order."""

    @abstractmethod
    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        """Start a task."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the tasks."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...


def new_tasks() -> Tasks:
    """Return a group of tasks.

    On asyncio another task than the one that began the block may end it: pytest-asyncio sets
    fixtures up in one task and tears them down in another, which task groups forbid. On trio it is
    a nursery, and belongs to the task that began it.
    """
    loop = running_asyncio()
    return _Nursery() if loop is None else _LoopTasks(loop)


class _LoopTasks(Tasks):
    """Tasks that a loop of asyncio owns."""

    is_movable = True

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        # With the tasks: asyncio itself keeps no strong reference to them.
        self._running: dict[anyio.CancelScope, object] = {}
        self._failures: list[BaseException] = []
        self._changed = anyio.Event()

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        scope = anyio.CancelScope()
        self._running[scope] = None  # before the task, which some loops begin at once
        task = self._loop.create_task(self._run(scope, function, *args))
        if scope in self._running:
            self._running[scope] = task

    async def _run(
        self,
        scope: anyio.CancelScope,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *args: Any,
    ) -> None:
        try:
            with scope:
                await function(*args)
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            raise  # the loop itself ends
        except BaseException as error:  # noqa: BLE001 - raised where the block ends
            self._failures.append(error)
        finally:
            del self._running[scope]
            self._changed.set()

    def cancel(self) -> None:
        for scope in list(self._running):
            scope.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            if exc is None:
                await self._wait()
        finally:
            if self._running:
                self.cancel()
                with anyio.CancelScope(shield=True):
                    await self._wait()
        failures, self._failures = self._failures, []
        if failures:
            if exc is not None and not isinstance(exc, anyio.get_cancelled_exc_class()):
                failures.insert(0, exc)
            raise BaseExceptionGroup("Tasks have failed.", failures)
        return None

    async def _wait(self) -> None:
        while self._running:
            self._changed = anyio.Event()
            await self._changed.wait()


class _Nursery(Tasks):
    """A task group."""

    is_movable = False

    def __init__(self) -> None:
        self._group = anyio.create_task_group()
        self._owner = anyio.get_current_task().id

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        self._group.start_soon(function, *args)

    def cancel(self) -> None:
        self._group.cancel_scope.cancel()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._owner != anyio.get_current_task().id:
            raise UsageError("This ends in another task than it began in; on trio it must not.")
        return await self._group.__aexit__(exc_type, exc, traceback)


@dataclass
class Background:
    """The tasks of `async with pond`, while it is open, and tasks that no block owns."""

    tasks: Tasks | None = None
    # asyncio itself keeps no strong reference to them.
    _detached: set[object] = field(default_factory=set)

    def start_detached(
        self, function: Callable[[], Coroutine[Any, Any, Any]], context: Context
    ) -> None:
        """Start a task that lives as long as the event loop, if need be. It must not raise.

        For what no block of the application is around: it may have mounted the pond without a
        lifespan. The loop cancels it at its end.

        Args:
            context: The variables that it sees.
        """
        loop = running_asyncio()
        if loop is None:
            sys.modules["trio"].lowlevel.spawn_system_task(function, context=context)
        else:
            task = loop.create_task(function(), context=context)
            self._detached.add(task)
            task.add_done_callback(self._detached.discard)
