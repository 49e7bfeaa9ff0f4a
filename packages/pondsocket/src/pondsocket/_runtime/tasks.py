"""Work to be awaited, and groups of tasks that another task may end."""

import sys
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio

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


class Tasks:
    """A group of tasks: `async with tasks:` waits for them, as a task group does.

    Another task than the one that began the block may end it, and several blocks may end in any
    order: some test runners set fixtures up in one task and tear them down in another, which task
    groups forbid. The tasks belong to the event loop.
    """

    def __init__(self) -> None:
        self._loop = running_asyncio()  # None: trio
        # With the tasks: asyncio itself keeps no strong reference to them.
        self._running: dict[anyio.CancelScope, object] = {}
        self._failures: list[BaseException] = []
        self._changed = anyio.Event()

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        """Start a task, in a copy of the caller's context."""
        scope = anyio.CancelScope()
        self._running[scope] = None  # before the task, which some loops begin at once
        if self._loop is None:
            spawn = sys.modules["trio"].lowlevel.spawn_system_task
            spawn(self._run, scope, function, *args, context=copy_context())
            return
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
        """Cancel the tasks."""
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
