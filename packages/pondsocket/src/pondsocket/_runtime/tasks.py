"""Work to be awaited, and the task group of a pond."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import anyio.abc

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


@dataclass
class Background:
    """The task group of `async with pond`, while one is open."""

    tasks: anyio.abc.TaskGroup | None = None
