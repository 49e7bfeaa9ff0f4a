"""Coroutines that are driven by hand up to their first wait.

What only a coroutine that waits needs, such as a timer or a task, is prepared at its first wait.
Most handlers never wait, and a timer costs more than they do (tests/benchmarks/microbench.py,
"connect; core" and "join and leave; core").
"""

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar

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
