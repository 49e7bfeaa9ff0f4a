"""The event loop that a pond runs in, its primitives, and calls into it from other threads."""

import sys
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from pondsocket._errors import UsageError
from pondsocket._log import get_log

from .groups import Group, LateGroup, SideGroup, SideTasks, within
from .unserved import Unserved

_log: Final = get_log("pondsocket.loop")


def failure_of(error: BaseException) -> BaseException:
    """Return the failure of a handler that has raised `error`. Raise what its task must get.

    The task must get its cancellation, alone or in a group; Ctrl-C, which ends the program; and
    GeneratorExit. All else is the handler's failure, also `SystemExit`: raised here, it would end
    the process with all its clients. On asyncio, awaiting a task or a future that other code has
    cancelled also raises a cancellation. That is a failure, too: this task is not cancelled.
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
    """Return the classes that may be the running task's cancellation."""
    trio: Any = sys.modules.get("trio")
    # Always the task's own: no code can raise or catch one of another task.
    classes = () if trio is None else (trio.Cancelled,)
    if running_asyncio() is None:
        return classes
    asyncio: Any = sys.modules["asyncio"]
    task = asyncio.current_task()
    is_cancelled = task is not None and task.cancelling()
    return (asyncio.CancelledError, *classes) if is_cancelled else classes


def running_asyncio() -> Any:
    """Return the running loop of asyncio, else None. Does not import asyncio, for users of trio."""
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except RuntimeError:
        return None


def callback_context() -> Context:
    """Return a context for callbacks of asyncio, which are not tasks, but may close a connection.

    Without a task, anyio asks sniffio, if that is installed, which library is running.
    """
    context = Context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def _begins_without_waiting(new_group: Callable[[], anyio.abc.TaskGroup]) -> bool:
    """Return whether `LateGroup` can begin a group of this class."""
    try:
        within(new_group(), anyio.CancelScope())
    except Exception:  # noqa: BLE001 - boundary: another version of anyio
        return False
    return True


class Loop:
    """The event loop that a pond runs in, as of its latest connection.

    Attributes:
        threads: The numbers of the threads in which it has run: several, where tests or servers
            run one event loop after another, or beside another.
        unserved: What was sent before it has begun.
    """

    __slots__ = (
        "_context",
        "_native",
        "_soon",
        "_starting",
        "_thread",
        "current_task",
        "new_event",
        "new_group",
        "new_scope",
        "new_side_tasks",
        "threads",
        "unserved",
    )

    def __init__(self) -> None:
        self._context: Context | None = None
        # Not its number, which a later thread is given again once this one has ended.
        self._thread: threading.Thread | None = None
        self._native: object = None
        self.threads: set[int] = set()
        self.unserved: Unserved = Unserved()
        # Held while it begins, and while a thread calls what it would call if it had begun.
        self._starting = threading.RLock()
        self._soon: Callable[[Callable[[], object]], object] | None = None
        # anyio's own functions ask at each call which library runs, which takes longer than all the
        # rest. Here it is asked once. A scope: 10.2 -> 2.8 us; "connect; core" of
        # tests/benchmarks/microbench.py makes one.
        self.new_scope: Callable[[], anyio.CancelScope] = anyio.CancelScope
        self.new_group: Callable[[], Group] = anyio.create_task_group
        self.new_side_tasks: Callable[[], SideGroup] = anyio.create_task_group
        self.new_event: Callable[[], anyio.Event] = anyio.Event
        # The library's own, whose `id` is the id of anyio's: 0.05 us, not 2.
        self.current_task: Callable[[], object] = anyio.get_current_task

    def enter(self) -> None:
        """Make the running event loop the pond's."""
        thread, running = threading.current_thread(), running_asyncio()
        # For tasks that a callback starts in the context of a connection.
        if running is not None and (sniffio := sys.modules.get("sniffio")) is not None:
            sniffio.current_async_library_cvar.set("asyncio")
        if self._thread is thread and self._native is running:
            return
        # The loop's own thread-safe call, asyncio's or trio's, without an import of either library.
        native: Any = anyio.lowlevel.current_token().native_token
        soon = getattr(native, "call_soon_threadsafe", None)
        self.unserved.end()
        with self._starting:
            self._soon = native.run_sync_soon if soon is None else soon
            self._context = None if soon is None else callback_context()
            self._thread = thread
            self._native = native
            self.threads.add(threading.get_ident())
        self.new_scope = new_scope = type(anyio.CancelScope())
        self.new_group = self.new_side_tasks = new_group = type(anyio.create_task_group())
        if soon is not None and _begins_without_waiting(new_group):
            self.new_group = partial(LateGroup, new_scope, new_group)
            self.new_side_tasks = partial(SideTasks, new_scope)
        self.new_event = type(anyio.Event())
        library: Any = sys.modules["asyncio"] if soon else sys.modules["trio"].lowlevel
        self.current_task = library.current_task

    @property
    def is_here(self) -> bool:
        """Whether this thread is the loop's."""
        return self._thread is threading.current_thread()

    def check(self, name: str) -> None:
        """Refuse to run an `async` method of the pond in another event loop, of another thread.

        What it sends would be written there, to sockets that this loop reads and writes.

        Args:
            name: The method's, for the error.

        Raises:
            UsageError: It would.
        """
        if threading.get_ident() not in self.threads:
            self.refuse(name)

    def refuse(self, name: str) -> None:
        """Refuse a method as `check` does. Does nothing if the loop has not begun, or has ended.

        Raises:
            UsageError: The loop is there, and in another thread.
        """
        try:
            if self._soon is None:
                if name.startswith(("broadcast", "push")):
                    self.unserved.note()
                return
            self._soon(bool)  # which does nothing
        except RuntimeError:
            return
        if name.startswith("broadcast"):
            instead = f"`{name}_nowait(…)`, which any thread may call"
        elif name == "push":
            instead = "`ctx.connection.push(…)` or `pond.push_nowait(…)`, which any thread may call"
        else:
            instead = f"`asyncio.run_coroutine_threadsafe({name}(…), loop)` with the pond's loop"
        raise UsageError(
            f"`{name}` is for the event loop in which the pond serves, and this thread has another"
            f" one; write {instead}."
        )

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in the loop soon, from any thread. Calls of one thread keep their order.

        Before the first connection there is no loop, and so no code that it could meet: it is
        called at once, in this thread.

        Raises:
            UsageError: The loop has ended.
        """
        if self._soon is None:
            with self._starting:
                if self._soon is None:
                    self.unserved.note()
                    function()
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
