"""The lifespan of an application: what it opens before the first client, and closes at the end.

It is an async context manager, which may hold a task group. So the task that enters it must leave
it: it has a task of its own, and all others only ask for its beginning and its end.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import anyio

from pondsocket._errors import UsageError
from pondsocket._log import get_log

from .functions import name_of
from .loop import failure_of
from .tasks import Background, Work, waiting_tasks

_log: Final = get_log("pondsocket.server")

Start: TypeAlias = Callable[[Work], object]
"""Starts a task that lives as long as the lifespan."""


class EndingConnection(Protocol):
    """A connection that ends."""

    async def wait_ended(self) -> None:
        """Wait until nothing of it is left."""
        ...

    def is_run_by(self, tasks: Collection[int]) -> bool:
        """Return whether one of these tasks, given by id, runs it."""
        ...


class Lifespan:
    """An async context manager, entered once at a time, however many callers open it.

    Args:
        function: Makes it.
        argument: What the function is called with.

    Attributes:
        state: What it has yielded; empty while it is not open.

    Raises:
        UsageError: The function cannot be one; the message says what to write.
    """

    def __init__(
        self, function: Callable[[Any], AbstractAsyncContextManager[Any]], argument: object
    ) -> None:
        _check(function)
        self._function = function
        self._argument = argument
        self._run: _Run | None = None
        self.state: dict[str, Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is entered, and not asked to end."""
        return self._run is not None and self._run.is_open

    async def open(self, start: Start) -> None:
        """Enter it, or wait until another caller has.

        Raises:
            BaseException: What it has raised. The next call tries again.
        """
        while (run := self._run) is not None and run.is_asked:
            await run.over.wait()  # the pond was closed, and is opened again
        if run is None or run.over.is_set():
            self._run = run = _Run(self._function, self._argument, self.state)
            start(run.serve)
        await run.begun.wait()
        if not run.is_open and run.failure is not None:
            raise run.failure

    async def open_for_client(self, background: Background, path: str) -> bool:
        """Open it for a client, as no host has. Return whether it is open; else it is logged."""
        # Not the variables of the client that happens to be the first.
        start = partial(background.start_detached, context=Context())
        try:
            await self.open(start)
        except BaseException as error:  # noqa: BLE001 - boundary: the application's lifespan
            failure = failure_of(error)
            run = self._run
            if run is not None and not run.is_told:  # once, however many clients wait for it
                run.is_told = True
                text = "The lifespan failed, and clients are refused until it begins (path=%r)."
                _log.error(text, path, exc_info=failure)
            return False
        return True

    async def close(self, connections: Sequence[EndingConnection], seconds: float) -> None:
        """Leave it when these connections have ended, after `seconds` at most. Wait for that.

        A handler does not wait, as its own connection is one of them; nor does the lifespan itself.

        Raises:
            Exception: What it has raised at its end.
        """
        run = self._run
        if run is None or run.over.is_set():
            return
        run.ask(connections, seconds)
        tasks = waiting_tasks()
        if run.task in tasks or any(each.is_run_by(tasks) for each in connections):
            return
        run.is_told = True  # by what is raised here
        await run.over.wait()
        if run.failure is not None and run.was_open:
            raise run.failure


class _Run:
    """One entering and leaving."""

    def __init__(
        self, function: Callable[[Any], Any], argument: object, state: dict[str, Any]
    ) -> None:
        self._function = function
        self._argument = argument
        self._state = state
        self._scope = anyio.CancelScope()
        self._asked = anyio.Event()
        self._before: tuple[Sequence[EndingConnection], float] = (), 0.0
        self.begun = anyio.Event()
        self.over = anyio.Event()
        self.task: int | None = None
        self.is_open = False
        self.was_open = False
        self.is_told = False
        self.failure: BaseException | None = None

    @property
    def is_asked(self) -> bool:
        """Whether it is asked to end, and has not ended."""
        return self._asked.is_set() and not self.over.is_set()

    def ask(self, before: Sequence[EndingConnection], seconds: float) -> None:
        """Ask it to end; at once, if it has not begun."""
        if self._asked.is_set():
            return
        self.is_open = False
        self._before = before, seconds
        self._asked.set()
        if not self.was_open:
            self._scope.cancel()

    async def serve(self) -> None:
        """Enter, wait until it is asked to end, and leave. What the task of it does."""
        self.task = anyio.get_current_task().id
        try:
            with self._scope:
                await self._hold()
            if self._scope.cancelled_caught:
                self.is_told = True  # it is no failure
                self.failure = UsageError("The pond was closed before its lifespan had begun.")
        except BaseException as error:  # noqa: BLE001 - boundary: the application's lifespan
            self._fail(error)
        finally:
            self.is_open = False
            self._state.clear()
            self.begun.set()
            self.over.set()

    async def _hold(self) -> None:
        manager = self._function(self._argument)
        if not hasattr(manager, "__aenter__"):
            if inspect.iscoroutine(manager):
                manager.close()  # or Python warns that it was never awaited
            raise _wrong(self._function)
        async with manager as state:
            self._keep(state)
            self.is_open = self.was_open = True
            self.begun.set()
            await self._asked.wait()
            before, seconds = self._before
            with anyio.move_on_after(seconds):
                for connection in before:
                    await connection.wait_ended()
        if not self._asked.is_set():
            raise UsageError("The lifespan has ended before the pond was closed.")

    def _keep(self, state: object) -> None:
        if isinstance(state, Mapping):
            self._state.update(state)
        elif state is not None:
            raise UsageError(
                f"lifespan={name_of(self._function)}: it yields a mapping for `pond.state`, or"
                f" nothing, not {state!r}."
            )

    def _fail(self, error: BaseException) -> None:
        try:
            self.failure = failure_of(error)
        except BaseException:
            self.failure = UsageError("The lifespan's task was cancelled.")
            raise
        if self.was_open and not self._asked.is_set():
            text = "The lifespan has ended before the pond was closed; the next client opens it."
            _log.error(text, exc_info=self.failure)
        elif self.was_open and not self.is_told:
            _log.error("The lifespan failed at its end.", exc_info=self.failure)


def _check(function: object) -> None:
    # What `@asynccontextmanager` returns can be called, too, as a decorator.
    if hasattr(function, "__aenter__") and not isinstance(function, type):
        raise _wrong(function)
    if not callable(function) or inspect.isasyncgenfunction(function):
        raise _wrong(function)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise _wrong(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # it hides its signature
    try:
        signature.bind(None)
    except TypeError:
        raise UsageError(
            f"lifespan={name_of(function)}: it is called with the pond, but takes {signature};"
            f" write `async def {name_of(function)}(pond)`."
        ) from None


def _wrong(function: object) -> UsageError:
    name = name_of(function)
    if hasattr(function, "__aenter__"):
        return UsageError(
            "lifespan: give the function itself, `lifespan=opened_and_closed`, not what it returns."
        )
    return UsageError(
        f"lifespan={name}: it must make an async context manager: write `@asynccontextmanager`"
        f" above `async def {name}(pond)`, with one `yield`."
    )
