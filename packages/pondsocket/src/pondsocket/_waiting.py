"""To notice that a coroutine waits: what only matters then need not be got ready before.

Most handlers never wait, and a timer costs more than they do (tests/benchmarks/microbench.py,
"connect; core" and "join and leave; core").
"""

import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def noticing(work: Coroutine[Any, Any, T], on_wait: Callable[[], object]) -> Generator[Any, Any, T]:
    """Await `work`, calling `on_wait` if and when it first waits; cf. `_lanes.lead`."""
    try:
        waited_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    on_wait()
    while True:
        try:
            value = yield waited_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - a cancellation, or what was awaited failed:
            step = partial(work.throw, exc)  # it is for `work` to deal with
        else:
            step = partial(work.send, value)
        try:
            waited_for = step()
        except StopIteration as done:
            result = done.value
            return result
