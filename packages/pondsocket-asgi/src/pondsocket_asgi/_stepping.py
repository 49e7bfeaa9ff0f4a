"""Sending without a task: a server's `send` is driven by whoever has something to send.

Mostly a `send` finishes without waiting: it writes to the socket. Then one step of it costs a tenth
of waking a writer for it (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and
door"). Where it waits, because the peer does not read, a writer goes on with it from there.
"""

import sys
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeAlias

from ._scope import Send

Sending: TypeAlias = Coroutine[Any, Any, None]
"""What the `send` of a server that can be stepped gives."""

# Whose `send`, and whose wrappers around it, wait for nothing but the peer, open no cancel scope
# and no time-out before they do, and call nobody: driven by one task and finished by another, they
# could not. Any other is called by the writer alone.
# Not hypercorn's: a connection that was cancelled while such a `send` waited kept its socket
# (tests/integration/test_gone.py, "a cancelled call").
_SERVERS: Final = ("uvicorn.protocols.", "pondsocket_asgi.")
_WRAPPERS: Final = (
    "starlette._exception_handler",
    "starlette.middleware.errors",
    "litestar.middleware._internal.exceptions.middleware",
)
_MAX_WRAPPERS: Final = 8


def running_asyncio() -> Any:
    """The running loop, if it is one of asyncio's; not imported, since trio's users need not."""
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except RuntimeError:
        return None


def can_step(send: Send) -> bool:
    """Whether a `send` may be begun by one task and finished by another."""
    if running_asyncio() is None:
        return False
    inner: Any = send
    for _ in range(_MAX_WRAPPERS):
        function = getattr(inner, "__func__", inner)
        # `functools.wraps` lends a wrapper the name of its module, too.
        if hasattr(function, "__wrapped__"):
            return False
        module = getattr(function, "__module__", None) or ""
        if module.startswith(_SERVERS):
            return True
        if module not in _WRAPPERS:
            return False
        names = function.__code__.co_freevars
        if "send" not in names:
            return False
        inner = function.__closure__[names.index("send")].cell_contents
    return False


def is_cancelled(error: BaseException) -> bool:
    """Whether this is asyncio's cancellation.

    Of a `send` that has not waited it is never that of the task which drove it there: somebody has
    cancelled the future for which it was to wait.
    """
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def is_stray(error: BaseException) -> bool:
    """Whether this is asyncio's cancellation, but not of the running task."""
    if not is_cancelled(error):
        return False
    task = sys.modules["asyncio"].current_task()
    return task is None or not task.cancelling()


@types.coroutine
def go_on(work: Sending, waits_for: object) -> Generator[object, Any, None]:
    """Finish in this task what another one has begun, and what waits for this."""
    while True:
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - its own: a cancellation, or a failed wait
            step = partial(work.throw, error)
        else:
            step = partial(work.send, value)
        try:
            waits_for = step()
        except StopIteration:
            return
