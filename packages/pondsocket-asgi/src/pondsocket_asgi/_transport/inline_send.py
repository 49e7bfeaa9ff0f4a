"""Sending without a task: the code that sends a frame drives the server's `send` itself.

Mostly a `send` finishes without waiting: it writes to the socket. Then one step of it costs a tenth
of waking a writer for it (tests/benchmarks/microbench.py, "broadcast to 1,000, per member; core and
adapter"). If it has to wait, because the peer does not read, a writer goes on with it from there.
"""

import sys
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, TypeAlias

from pondsocket.adapter import running_asyncio

from pondsocket_asgi._scope import Send

Sending: TypeAlias = Coroutine[Any, Any, None]
"""What a `send` that can be stepped returns."""


class PendingSend(NamedTuple):
    """A `send` that was begun and that has to wait; the writer's task goes on with it."""

    work: Sending
    waits_for: object
    frames: int
    bytes: int


# The `send` of these servers, and these wrappers, may be begun by one task and finished by another:
# they wait only for the peer, open no cancel scope or time-out before that, and call no other code.
# Any other `send` is called only by the writer.
# Not hypercorn's: a connection that was cancelled while such a `send` waited kept its socket
# (tests/integration/test_gone.py, "a cancelled call").
_SERVERS: Final = ("uvicorn.protocols.", "pondsocket_asgi.")
_WRAPPERS: Final = (
    "starlette._exception_handler",
    "starlette.middleware.errors",
    "litestar.middleware._internal.exceptions.middleware",
)
_MAX_WRAPPERS: Final = 8


def can_send_inline(send: Send) -> bool:
    """Return whether a `send` may be begun by one task and finished by another."""
    if running_asyncio() is None:
        return False
    inner: Any = send
    for _ in range(_MAX_WRAPPERS):
        function = getattr(inner, "__func__", inner)
        # `functools.wraps` copies `__module__` too, so the wrapper's own module is unknown.
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
