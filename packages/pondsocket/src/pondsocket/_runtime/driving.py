"""Coroutines that are driven by hand up to their first wait, and tasks that are lent meanwhile.

What only a coroutine that waits needs, such as a timer or a task, is prepared at its first wait.
Most handlers never wait, and a timer costs more than they do (tests/benchmarks/microbench.py,
"connect; core" and "join and leave; core").
"""

import sys
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeVar

from .loop import running_asyncio

T = TypeVar("T")

_NOT_BEGUN: Final = object()


@types.coroutine
def drive(
    work: Coroutine[Any, Any, T],
    on_wait: Callable[[], object] | None = None,
    *,
    context: Context | None = None,
    waited_for: object = _NOT_BEGUN,
) -> Generator[Any, Any, T]:
    """Await `work`. Return its result.

    Args:
        on_wait: Called at its first wait, if it waits.
        context: The context that it runs in; None: the caller's.
        waited_for: What it waited for when other code, possibly in another task, drove it to its
            first wait. By default it has not begun.
    """
    # One loop for all uses: a generator around another one would be passed at every wait.
    if waited_for is _NOT_BEGUN:
        try:
            waited_for = work.send(None) if context is None else context.run(work.send, None)
        except StopIteration as done:
            result: T = done.value
            return result
        if on_wait is not None:
            on_wait()
    else:
        mark_awaited(waited_for, is_awaited=True)
    while True:
        try:
            value = yield waited_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - a cancellation, or what was awaited failed:
            step = partial(work.throw, exc)  # `work` handles it
        else:
            step = partial(work.send, value)
        try:
            waited_for = step() if context is None else context.run(step)
        except StopIteration as done:
            result = done.value
            return result


class LentTask:
    """A task of asyncio in which a callback of the event loop makes steps while the task waits.

    What runs in a step finds the same task and the same context as if the task had been woken for
    it: cancel scopes, timeouts and task groups belong to a task. But to wake a task takes a turn of
    the loop and the way down to where it waits (`python -m tests.benchmarks`, "Echo").

    Attributes:
        enter: Makes the task the running one. Fails if one runs.
        leave: Ends that.
        run: Calls a function in the task's context. Without `get_context`, which came with Python
            3.12, in a copy of it.
    """

    __slots__ = ("enter", "leave", "run")

    def __init__(self, asyncio: Any, loop: object) -> None:
        task = asyncio.current_task()
        self.enter: Callable[[], object] = partial(asyncio.tasks._enter_task, loop, task)
        self.leave: Callable[[], object] = partial(asyncio.tasks._leave_task, loop, task)
        self.run: Callable[..., Any] = getattr(task, "get_context", copy_context)().run


def lent_task() -> LentTask | None:
    """Return the running task, to be lent. None on trio, and where asyncio lacks what it takes."""
    loop = running_asyncio()
    if loop is None:
        return None
    try:
        return LentTask(sys.modules["asyncio"], loop)
    except AttributeError:  # they are asyncio's, but not public
        return None


def mark_awaited(waited_for: object, *, is_awaited: bool) -> None:
    """Mark what a coroutine waits for as awaited by a task that gets it next, or by none.

    asyncio's futures have this mark from their `__await__` until a task gets them. Meanwhile no
    other task can await them.
    """
    future: Any = waited_for
    if getattr(future, "_asyncio_future_blocking", None) is not None:
        future._asyncio_future_blocking = is_awaited


def cancel_again(error: BaseException) -> bool:
    """Cancel what this task waits for next, as its last wait was, which raised `error`.

    Returns:
        False if that was no cancellation.
    """
    asyncio: Any = sys.modules["asyncio"]
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    task.cancel(*error.args)
    task.uncancel()  # it is not a second one
    return True


def is_taken_back(error: BaseException) -> bool:
    """Return whether the running task was cancelled, and that has been taken back by `uncancel`.

    Since Python 3.13 a task is not cancelled if that happens before it waits again. But what a lent
    task waits for is cancelled at once.
    """
    asyncio: Any = sys.modules["asyncio"]
    return (
        sys.version_info >= (3, 13)
        and isinstance(error, asyncio.CancelledError)
        and not asyncio.current_task().cancelling()
    )
