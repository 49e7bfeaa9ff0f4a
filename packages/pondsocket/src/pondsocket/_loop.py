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


def failure_of(error: BaseException) -> BaseException:
    """The failure of a handler that has let this exception out; raises what its task must get.

    The task gets its cancellation, alone or in a group; Ctrl-C, which ends the program; and its
    closing. All else is the handler's failure, `SystemExit` among it: handed on, it would end the
    process with every client in it. On asyncio a cancellation also comes of awaiting a task or a
    future that other code has cancelled. That is a failure, too: this task goes on.
    """
    if isinstance(error, Exception):
        return error
    passing: tuple[type[BaseException], ...]
    passing = (KeyboardInterrupt, GeneratorExit, *_cancellation())
    if not isinstance(error, BaseExceptionGroup):
        if isinstance(error, passing):
            raise error
        return error
    passed, failure = error.split(passing)
    if passed is None:
        return error
    if failure is not None:
        _log.error("A handler failed while it was cancelled.", exc_info=failure)
    raise passed


def _cancellation() -> tuple[type[BaseException], ...]:
    """The cancellation of the running task, if it may be under way."""
    if _running_loop() is False:
        trio: Any = sys.modules.get("trio")
        return () if trio is None else (trio.Cancelled,)  # each of them is the task's own
    asyncio: Any = sys.modules["asyncio"]
    task = asyncio.current_task()
    return (asyncio.CancelledError,) if task is not None and task.cancelling() else ()


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
            except BaseException as error:  # noqa: BLE001 - boundary: it would end the program
                failure = failure_of(error)
                _log.error("A call from another thread failed.", exc_info=failure)

        try:
            self._soon(call)
        except RuntimeError as exc:
            raise UsageError("The pond's event loop has ended.") from exc
