"""Worker threads for plain functions, limited in number, in total and for one connection.

A message whose steps are all plain is one call in one thread. A message may hold a resource while
it waits (a generator dependency beside an `async def`): it has its own thread from its first step
to its last, under a limit of its own. So a message that holds a thread, or a database connection,
never waits for another thread. A pool of connections may be smaller than the number of threads.
"""

import math
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from functools import partial
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from pondsocket._errors import PondError
from pondsocket._log import get_log
from pondsocket._options import Options

from .django_connections import close_connections, close_old_connections
from .fair_limiter import FairLimiter
from .loop import Loop

T = TypeVar("T")

_log: Final = get_log("pondsocket.handlers")


class _Limiters(NamedTuple):
    """The limiters of one event loop.

    Args:
        shared: For threads that serve one call.
        kept: For threads that stay with a message.
        none: Without a limit, in place of anyio's own: the other two decide.
    """

    shared: FairLimiter
    kept: FairLimiter
    none: anyio.CapacityLimiter


class Threads:
    """The worker threads of one pond."""

    def __init__(self, options: Options, loop: Loop) -> None:
        self._options = options
        self._loop = loop
        self._is_full_logged = False
        # Each event loop has its own limiters, because its tasks wait in them.
        self._limiters: anyio.lowlevel.RunVar[_Limiters] = anyio.lowlevel.RunVar(
            "pondsocket_threads"
        )

    async def run(self, owner: Hashable, function: Callable[[], T], *, abandon: bool) -> T:
        """Call a plain function in a thread, once one is free.

        Args:
            owner: The owner of the share that is used, for instance the connection.
            abandon: Whether a cancelled caller leaves the thread running. It counts until it ends.
        """
        limiter = self._of_this_loop().shared
        await limiter.acquire(owner)
        return await self._run(limiter, owner, function, abandon=abandon)

    @asynccontextmanager
    async def keep(
        self, owner: Hashable, *, abandon: bool, patient: bool = False
    ) -> AsyncIterator["KeptThread"]:
        """Keep a thread for one message.

        Args:
            patient: Whether to wait for a thread where all are in use.

        Raises:
            PondError: 503; the limit of kept threads is reached.
        """
        limiter = self._of_this_loop().kept
        if limiter.is_full and not patient:
            self._log_full_once()
            raise PondError("The server has no thread left for this; try again.", 503)
        self._is_full_logged = False
        await limiter.acquire(owner)
        kept = KeptThread(self._loop, abandon=abandon)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve, limiter, owner, kept, abandon)
            try:
                yield kept
            except Exception as error:  # noqa: BLE001 - raised below, outside of the task group
                failure = error
            finally:
                kept.let_go()
                if kept.is_abandoned:
                    tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(
        self, limiter: FairLimiter, owner: Hashable, kept: "KeptThread", abandon: bool
    ) -> None:
        try:
            # Shielded, because the message waits for its calls, unless they can be abandoned.
            with anyio.CancelScope(shield=not abandon):
                await self._run(limiter, owner, kept.serve, abandon=abandon)
        except Exception as error:  # noqa: BLE001 - raised where the message waits for its calls
            kept.fail(error)

    async def _run(
        self, limiter: FairLimiter, owner: Hashable, function: Callable[[], T], *, abandon: bool
    ) -> T:
        place = _Place(self._loop, partial(limiter.release, owner))
        try:
            return await self._in_thread(partial(place.call, function), abandon=abandon)
        finally:
            place.leave()

    async def _in_thread(self, function: Callable[[], T], *, abandon: bool = False) -> T:
        return await anyio.to_thread.run_sync(
            function, abandon_on_cancel=abandon, limiter=self._of_this_loop().none
        )

    def _of_this_loop(self) -> "_Limiters":
        try:
            return self._limiters.get()
        except LookupError:
            each = self._options.max_connection_threads
            limiters = _Limiters(
                FairLimiter(self._options.max_threads, each),
                FairLimiter(self._options.max_kept_threads, each),
                anyio.CapacityLimiter(math.inf),
            )
            self._limiters.set(limiters)
            return limiters

    def _log_full_once(self) -> None:
        if not self._is_full_logged:  # once, or a long overload would fill the log
            self._is_full_logged = True
            _log.warning(
                "Messages are refused, 503: see Options.max_kept_threads (%s).",
                self._options.max_kept_threads,
            )


class _Place:
    """A call's place in a limiter: given back when neither the task nor the thread needs it.

    A thread may outlive the task that waits for it: a call can be abandoned, and a native
    cancellation of asyncio passes every shield.
    """

    __slots__ = ("_is_left", "_lock", "_loop", "_release", "_runs")

    def __init__(self, loop: Loop, release: Callable[[], None]) -> None:
        self._loop = loop
        self._release = release
        self._lock = threading.Lock()
        self._runs = False
        self._is_left = False

    def call(self, function: Callable[[], T]) -> T:
        """Make the call, in the thread."""
        with self._lock:
            if self._is_left:
                raise RuntimeError("The message does not wait for this call any more.")
            self._runs = True
        close_old_connections()
        try:
            return _call(function)
        finally:
            close_old_connections()
            with self._lock:
                self._runs = False
                is_left = self._is_left
            if is_left:
                self._loop.call_soon(self._release)

    def leave(self) -> None:
        """Stop waiting for the call, in the event loop."""
        with self._lock:
            self._is_left = True
            runs = self._runs
        if not runs:
            self._release()


class KeptThread:
    """A thread that makes one call after another, until `let_go`."""

    def __init__(self, loop: Loop, *, abandon: bool) -> None:
        self._loop = loop
        self._abandon = abandon
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._returned: anyio.Event | None = None  # set when the latest call is over
        self._failure: Exception | None = None
        self.is_abandoned = False

    def serve(self) -> None:
        """Make the calls. This is what the thread runs."""
        try:
            while (call := self._calls.get()) is not None:
                call()
        finally:
            close_connections()

    def let_go(self) -> None:
        """End the thread after the calls that are queued."""
        self._calls.put(None)

    def fail(self, error: Exception) -> None:
        """Let calls raise this: the thread could not start, or has ended."""
        self._failure = error
        if self._returned is not None:
            self._returned.set()

    async def call(self, function: Callable[[], T]) -> T | None:
        """Call a plain function there. None if the thread was abandoned in an earlier call."""
        if self._failure is not None:
            raise self._failure
        event = self._returned = anyio.Event()
        results: list[T] = []
        failures: list[BaseException] = []

        def call() -> None:
            try:
                results.append(_call(function))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failures.append(error)
            finally:
                self._loop.call_soon(event.set)

        self._calls.put(call)
        if self.is_abandoned:
            return None  # the thread still makes the call, later
        try:
            with anyio.CancelScope(shield=not self._abandon):
                await event.wait()
        except BaseException:
            self.is_abandoned = True
            raise
        if failures:
            raise failures.pop()
        if self._failure is not None:
            raise self._failure
        return results.pop()


def _call(function: Callable[[], T]) -> T:
    try:
        return function()
    except (GeneratorExit, KeyboardInterrupt) as error:
        # In the event loop these close the task, or end the process: a thread must not decide that.
        raise RuntimeError(f"A plain function has raised {type(error).__name__}.") from error
