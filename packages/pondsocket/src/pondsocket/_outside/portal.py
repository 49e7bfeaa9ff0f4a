"""A thread with an event loop of its own, which other threads call and wait for."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Final, Generic, Protocol, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from pondsocket._errors import UsageError


class Runs(Protocol):
    """What runs in the thread."""

    async def run(self) -> None:
        """Run until cancelled."""
        ...


T = TypeVar("T")
P = TypeVar("P", bound=Runs)

_CLOSED: Final = "This publisher is closed."


class _Ended(Exception):  # noqa: N818 - a state
    """The thread takes no more work."""


class Portal(Generic[P]):
    """The thread. It is one of the process that has opened it: a fork has no copy of it.

    Args:
        make: Makes, in it, what runs from its start to its end.

    Attributes:
        inside: What was made. Only the thread calls it.
    """

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._process = os.getpid()
        started: Future[tuple[BlockingPortal, P]] = Future()
        # A daemon: threads that are none are waited for before what is registered with `atexit`.
        self._thread = threading.Thread(
            target=self._serve, args=(started,), name="pondsocket publisher", daemon=True
        )
        self._thread.start()
        self._portal, self.inside = started.result()

    def _serve(self, started: Future[tuple[BlockingPortal, P]]) -> None:
        # asyncio in this thread, whatever the others run.
        anyio.run(self._main, started, backend="asyncio")

    async def _main(self, started: Future[tuple[BlockingPortal, P]]) -> None:
        async with anyio.create_task_group() as tasks:
            inside = self._make()
            tasks.start_soon(inside.run)
            async with BlockingPortal() as portal:
                started.set_result((portal, inside))
                await portal.sleep_until_stopped()
            tasks.cancel_scope.cancel()

    @property
    def is_of_this_process(self) -> bool:
        """Whether no fork is between its start and now."""
        return os.getpid() == self._process

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work in the thread, and wait for its result.

        Raises:
            UsageError: The thread has ended, or is that of another process.
        """
        if not self.is_of_this_process:
            raise UsageError(
                "This Publisher was opened before the process forked, and its connection belongs to"
                " the parent. Make it at the top of a module, and let the first call of each"
                " process open it; or open it after the fork, as in Celery's signal"
                " `worker_process_init`."
            )
        try:
            return self._call(work)
        except _Ended:
            raise UsageError(_CLOSED) from None

    def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            # Not in the caller's context, which may say that another library runs.
            future = Context().run(self._portal.start_task_soon, work)
        except RuntimeError:
            raise _Ended from None
        return future.result()

    def close(self) -> None:
        """End the thread once its work is done. Idempotent."""
        if not self.is_of_this_process or not self._thread.is_alive():
            return
        try:
            self._call(self._portal.stop)
        except _Ended:
            pass  # another thread closes it
        self._thread.join()
