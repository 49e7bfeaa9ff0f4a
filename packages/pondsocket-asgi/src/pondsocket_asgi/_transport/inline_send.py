"""Sending without a task: the code that sends a frame drives the server's `send` itself.

Mostly a `send` finishes without waiting: it writes to the socket. Then one step of it costs a tenth
of waking a writer for it (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and
adapter"). If it has to wait, because the peer does not read, a writer goes on with it from there.
"""

import sys
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeAlias

Sending: TypeAlias = Coroutine[Any, Any, None]
"""What a `send` that can be stepped returns."""


class PendingSend(NamedTuple):
    """A `send` that was begun and that has to wait; the writer's task goes on with it."""

    work: Sending
    waits_for: object
    frames: int
    bytes: int


def is_cancelled(error: BaseException) -> bool:
    """Return whether this is asyncio's cancellation.

    From a `send` that has not waited yet, it is never a cancellation of the running task: the
    future that the `send` was to wait for has been cancelled.
    """
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def is_stray(error: BaseException) -> bool:
    """Return whether this is asyncio's cancellation, but not of the running task."""
    if not is_cancelled(error):
        return False
    task = sys.modules["asyncio"].current_task()
    return task is None or not task.cancelling()
