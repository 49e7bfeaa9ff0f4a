"""What the parts of one pond share."""

import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import anyio.abc

from pondsocket._delivery.batching import Turn
from pondsocket._runtime.loop import Loop
from pondsocket._runtime.threads import Threads
from pondsocket._telemetry.hooks import Observer

from ._options import Options

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


@dataclass(frozen=True)
class Environment:
    """What the parts of one pond share.

    Args:
        clock: Seconds, from any start; for rates and durations.
        observer: Hooks and metrics; None if both are unset.
    """

    options: Options = field(default_factory=Options)
    clock: Callable[[], float] = time.monotonic
    observer: Observer | None = None
    background: Background = field(default_factory=Background)
    loop: Loop = field(default_factory=Loop)
    turn: Turn = field(default_factory=Turn)
    threads: Threads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", Threads(self.options, self.loop))

    @property
    def counting(self) -> Observer | None:
        """The observer, if it counts frames; else None."""
        observer = self.observer
        return observer if observer is not None and observer.counts_frames else None
