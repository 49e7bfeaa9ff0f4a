"""What handlers have raised: told to the hooks, and to the functions of `pond.on_error`."""

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import anyio

from pondsocket._errors import UsageError
from pondsocket._log import get_log
from pondsocket._runtime.functions import is_async, name_of
from pondsocket._runtime.loop import Loop, failure_of
from pondsocket._runtime.tasks import Background
from pondsocket._runtime.threads import Threads

from .hooks import Observer

_log: Final = get_log("pondsocket.hooks")

# Each keeps the context of a message. Above it the log alone is told.
_MOST_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """A handler has failed: what `on_error` is told.

    Args:
        error: What it has raised. A group may have several in it.
        kind: The kind of handler; "task" for the rest of what a connection runs.
        context: What the handler was given as `ctx`, for instance an `EventContext`; None if there
            is none.
        channel_name: The channel; `GATEWAY` for an endpoint's own.
        event: The event's name; CONNECT, JOIN, LEAVE and so on where there is none.
        user_id: The user whose client it was.
        path: The path whose channel it is, as `Channel.path`.
    """

    error: BaseException
    kind: Literal["connect", "join", "event", "leave", "outgoing", "disconnect", "task"]
    context: object
    channel_name: str
    event: str
    user_id: str
    path: str


class Failures:
    """Tells of failures. Never raises, and delays no caller.

    Args:
        observer: Hooks and metrics; None if both are unset.

    Attributes:
        watchers: Called at once with every failure, by tests. They must not raise.
    """

    def __init__(
        self, observer: Observer | None, background: Background, loop: Loop, threads: Threads
    ) -> None:
        self._observer = observer
        self._background = background
        self._loop = loop
        self._threads = threads
        self.watchers: list[Callable[[ErrorContext], object]] = []
        self._handlers: list[Callable[[ErrorContext], Any]] = []
        self._running: dict[object, int | None] = {}  # the id of the task, once it runs
        self._is_full_logged = False
        self._ended: anyio.Event | None = None

    def add(self, handler: Callable[[ErrorContext], Any]) -> None:
        """Call this handler from now on."""
        self._handlers.append(handler)

    def report(self, failed: ErrorContext) -> None:
        """Tell the hooks now, and each handler in a task of its own."""
        if self._observer is not None:
            self._observer.error(
                failed.error, failed.channel_name, failed.event, failed.user_id, failed.path
            )
        for watch in self.watchers:
            watch(failed)
        for handler in self._handlers:
            if len(self._running) >= _MOST_AT_ONCE:
                if not self._is_full_logged:  # once, or a long overload would fill the log
                    self._is_full_logged = True
                    text = "Error handlers are too slow: %s run, and further errors are not told."
                    _log.error(text, len(self._running))
                return
            self._is_full_logged = False
            place = object()
            self._running[place] = None
            work = partial(self._tell, place, handler, failed)
            self._background.start_detached(work, copy_context())

    async def wait_told(self, seconds: float) -> None:
        """Wait for the handlers that run, except for the caller, if it is one."""
        with anyio.move_on_after(seconds):
            here = anyio.get_current_task().id
            while any(task != here for task in self._running.values()):
                self._ended = self._loop.new_event()
                await self._ended.wait()

    async def _tell(
        self, place: object, handler: Callable[[ErrorContext], Any], failed: ErrorContext
    ) -> None:
        try:
            self._running[place] = anyio.get_current_task().id
            if is_async(handler):
                await handler(failed)
            else:
                await self._threads.run(self, partial(_call, handler, failed), abandon=True)
        except BaseException as error:  # noqa: BLE001 - boundary: the application's handler
            failure = failure_of(error)
            _log.error("An error handler failed (%s).", name_of(handler), exc_info=failure)
        finally:
            self._running.pop(place, None)
            if self._ended is not None:
                self._ended.set()


def _call(handler: Callable[[ErrorContext], Any], failed: ErrorContext) -> None:
    returned = handler(failed)
    if hasattr(returned, "__await__"):
        close = getattr(returned, "close", None)
        if close is not None:
            close()  # or Python warns that it was never awaited
        raise UsageError("It must be awaited, so write it as `async def`.")
