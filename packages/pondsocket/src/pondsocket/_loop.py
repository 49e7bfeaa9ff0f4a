"""The event loop that a pond runs in, what it is made of, and how other threads reach it."""

import logging
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from ._errors import UsageError

_log: Final = logging.getLogger("pondsocket.loop")


def is_cancellation(error: BaseException) -> bool:
    """Whether this exception, which a handler let out, is a cancellation of this very task.

    On asyncio the same exception comes of awaiting a task or a future that somebody else has
    cancelled: a mistake of the handler, which must not end its connection.
    """
    if isinstance(error, Exception):
        return False
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        return True  # another library's loop, where the exception means only one thing
    return task is None or task.cancelling() > 0


def _running_loop() -> object:
    """The running loop of asyncio; False where there is none."""
    asyncio = sys.modules.get("asyncio")
    try:
        return False if asyncio is None else asyncio.get_running_loop()
    except RuntimeError:
        return False


def callback_context() -> Context:
    """A context for callbacks of asyncio, which are no tasks, but may close a connection.

    Without a task anyio asks sniffio, where that is installed, which library is running.
    """
    context = Context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


class Loop:
    """Where a pond runs, as of its latest connection."""

    __slots__ = ("_context", "_native", "_soon", "_thread", "new_event", "new_group", "new_scope")

    def __init__(self) -> None:
        self._context: Context | None = None
        self._thread: int | None = None
        self._native: object = None
        self._soon: Callable[[Callable[[], object]], object] | None = None
        # anyio's own functions ask each time which library runs, which takes longer than all the
        # rest: these are asked once. A scope: 10.2 -> 2.8 us; "connect; core" of
        # tests/benchmarks/microbench.py makes one.
        self.new_scope: Callable[[], anyio.CancelScope] = anyio.CancelScope
        self.new_group: Callable[[], anyio.abc.TaskGroup] = anyio.create_task_group
        self.new_event: Callable[[], anyio.Event] = anyio.Event

    def enter(self) -> None:
        """The running event loop is the pond's."""
        thread, running = threading.get_ident(), _running_loop()
        # For tasks that a callback starts in the context of a connection.
        if running is not False and (sniffio := sys.modules.get("sniffio")) is not None:
            sniffio.current_async_library_cvar.set("asyncio")
        if self._thread == thread and self._native is running:
            return
        # The loop's own way in, asyncio's or trio's, without naming either library.
        native: Any = anyio.lowlevel.current_token().native_token
        soon = getattr(native, "call_soon_threadsafe", None)
        self._soon = native.run_sync_soon if soon is None else soon
        self._context = None if soon is None else callback_context()
        self._thread = thread
        self._native = native
        self.new_scope = type(anyio.CancelScope())
        self.new_group = type(anyio.create_task_group())
        self.new_event = type(anyio.Event())

    @property
    def is_here(self) -> bool:
        """Whether this thread is the loop's."""
        return self._thread == threading.get_ident()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in the loop as soon as it comes to it; calls of one thread in order.

        Before the first connection nobody is there, and nothing is called.

        Raises:
            UsageError: The loop has ended.
        """
        if self._soon is None:
            return

        def call() -> None:
            try:
                if self._context is None:
                    function()
                else:
                    self._context.run(function)
            except Exception:  # noqa: BLE001 - boundary: on trio it would end the program
                _log.exception("A call from another thread failed.")

        try:
            self._soon(call)
        except RuntimeError as exc:
            raise UsageError("The pond's event loop has ended.") from exc
