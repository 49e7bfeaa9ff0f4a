"""Event loops whose time stands still, and jumps to the next timer when no task has work.

    @pytest.fixture
    def anyio_backend():
        return virtual_backend("asyncio")

For apps that stay inside of the process: while a thread or a socket is waited for, time flies.
Nothing takes any time by itself, so what has to be within a second can be told to a millisecond.
"""

import asyncio
import selectors
import sys
from collections.abc import Callable, Mapping
from typing import Any


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop for which sleeping takes no time; trio has such a clock of its own."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the loop's time, in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._now += seconds


class _JumpingSelector(selectors.SelectSelector):
    """A selector that jumps instead of waiting."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready at this moment; wait for it only if there is no timer."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready


def virtual_backend(backend: str) -> tuple[str, Mapping[str, Any]]:
    """Return a value for anyio's fixture `anyio_backend`: "asyncio" or "trio", in virtual time."""
    if backend == "trio":
        from trio.testing import MockClock

        return "trio", {"clock": MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": JumpingLoop}


def running_virtual_time() -> tuple[float, Callable[[float], object]] | None:
    """Return the time of the running event loop and what moves it; None if it is real."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        jump = getattr(clock, "jump", None)  # trio.testing's MockClock
        return None if jump is None else (clock.current_time(), jump)
    loop = asyncio._get_running_loop()
    return (loop.time(), loop.jump) if isinstance(loop, JumpingLoop) else None
