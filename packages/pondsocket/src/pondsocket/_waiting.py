"""Coroutines that are driven by hand up to their first wait, and what is done about it.

What only matters to those that wait need not be got ready before. Most handlers never wait, and a
timer costs more than they do (tests/benchmarks/microbench.py, "connect; core" and "join and leave;
core").
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
    return (yield from resume(work, waited_for))


@types.coroutine
def resume(work: Coroutine[Any, Any, T], waited_for: object) -> Generator[Any, Any, T]:
    """Go on with `work`, which was driven until it waited for this; gives what it returns."""
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
            result: T = done.value
            return result
