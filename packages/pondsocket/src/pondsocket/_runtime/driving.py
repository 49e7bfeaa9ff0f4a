"""Coroutines that are driven by hand up to their first wait.

What only a coroutine that waits needs, such as a timer, is prepared at its first wait. Most
handlers never wait, and a timer costs more than they do (tests/benchmarks/microbench.py, "connect;
core" and "join and leave; core").
"""

import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def call_at_first_wait(
    work: Coroutine[Any, Any, T], on_wait: Callable[[], object]
) -> Generator[Any, Any, T]:
    """Await `work`, and call `on_wait` if it waits, at its first wait; cf. `lanes.lead`."""
    try:
        waited_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    on_wait()
    return (yield from resume(work, waited_for))


@types.coroutine
def resume(work: Coroutine[Any, Any, T], waited_for: object) -> Generator[Any, Any, T]:
    """Go on with `work`, which was driven until it waited for `waited_for`. Return its result."""
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
            waited_for = step()
        except StopIteration as done:
            result: T = done.value
            return result
