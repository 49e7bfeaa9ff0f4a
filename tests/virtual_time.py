"""Event loops whose time stands still, and jumps to the next timer when no task has work.

    anyio_backend = jumping_loops

For tests that stay inside of the process: while a thread or a socket is waited for, time flies.
Nothing takes any time by itself, so what has to be within a second can be told to a millisecond.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import pytest
import trio.testing


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop for which sleeping takes no time; trio has such a clock of its own."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(JumpingSelector(self))

    def time(self) -> float:
        """Return the loop's time, in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._now += seconds


class JumpingSelector(selectors.SelectSelector):
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
    """Return a value for the fixture `anyio_backend`."""
    if backend == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": JumpingLoop}


@pytest.fixture(params=["asyncio", "trio"])
def jumping_loops(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """Run a module's tests on loops whose time jumps, as its `anyio_backend`."""
    return virtual_backend(request.param)
