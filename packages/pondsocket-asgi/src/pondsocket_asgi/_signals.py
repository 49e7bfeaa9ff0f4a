"""SIGTERM and SIGINT, held back until the connections have been told and have ended.

A server that is told to end cuts all its WebSockets at once and waits for event streams for ever;
lifespan shutdown comes only after both. So while there are connections the signals are ours: the
first begins the drain of every pond, and when the last connection has ended the server's own
handler is put back and the signal raised again. Only `signal.signal` can be undone on every
server: what `loop.add_signal_handler` replaces cannot be read back.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import FrameType
from typing import Any, Final, TypeAlias
from weakref import WeakSet

import anyio.lowlevel
from pondsocket import PondSocket

from ._servers import HypercornWorker, is_leaving
from ._wakeup import Wakeup

logger = logging.getLogger("pondsocket.asgi.signals")

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

# A worker that ends by the signal, and not by itself, makes hypercorn's parent end all others.
_WORKER_SECONDS: Final = 2.0
# The closing handshakes of the last connections, where the signal kills without asking.
_PARTING_SECONDS: Final = 0.1
# What a connection may take after its delay: handlers, leave handlers and a peer that reads slowly.
_OVERTIME_SECONDS: Final = 10.0


class SignalHook:
    """The process's hold on its ending signals while there are connections."""

    def __init__(self) -> None:
        self._ponds: WeakSet[PondSocket] = WeakSet()
        self._connections = 0
        self._replaced: dict[int, _Handler] = {}
        self._handler: Final = self._on_signal  # one object, to be recognised by
        self._wakeup: Wakeup | None = None
        self._loop: Any = None
        self._task: object = None
        self._held: int | None = None
        self._draining = False
        self._parting = False
        self._limit: float | None = None
        self._timers: list[threading.Timer] = []

    @property
    def should_exit(self) -> bool:
        """Whether the process is ending; other frameworks look for it at the signal's handler."""
        return self._held is not None or is_leaving(self._replaced.get(signal.SIGTERM))

    @contextmanager
    def connection(self, pond: PondSocket) -> Iterator[None]:
        """Hold the signals while this connection of a pond is served."""
        if threading.current_thread() is not threading.main_thread():
            # The server is not the main program, which alone has signals and ends it its own way.
            yield
            return
        self._enter(pond)
        try:
            yield
        finally:
            self._leave()

    def ask_server(self) -> bool:
        """Begin the drain if the server has begun to end without a signal; whether it is so."""
        if not self._draining and self.should_exit:
            self.drain()
        return self._draining

    def drain(self) -> None:
        """Begin the drain of every pond that has had connections here."""
        if not self._draining:
            self._draining = True
            logger.info("Draining %d connections.", self._connections)
        for pond in tuple(self._ponds):
            self._drain(pond)

    def _drain(self, pond: PondSocket) -> None:
        seconds = pond.options.drain_seconds
        try:
            pond.begin_drain(seconds if self._limit is None else min(seconds, self._limit))
        except Exception:  # boundary: the process was told to end, and does
            logger.exception("The drain of a pond failed.")

    # --- connections come and go --------------------------------------------------------------

    def _enter(self, pond: PondSocket) -> None:
        self._ponds.add(pond)
        self._connections += 1
        if self._connections == 1 and not self._replaced:
            self._install()
        if (worker := HypercornWorker.find()) is not None:
            self._limit = worker.drain_limit
            worker.when_it_ends(self.drain)
        if self.ask_server():
            self._drain(pond)

    def _leave(self) -> None:
        self._connections -= 1
        if self._connections:
            return
        if self._held is not None:
            self._part()
        else:
            self._draining = False
            self._release()()

    # --- the signals --------------------------------------------------------------------------

    def _install(self) -> None:
        # The loop's own ways, asyncio's or trio's, without naming either library.
        self._loop = anyio.lowlevel.current_token().native_token
        for number in (signal.SIGTERM, signal.SIGINT):
            old = signal.getsignal(number)
            if _is_held(number, old):
                self._replaced[number] = old
                signal.signal(number, self._handler)
        if self._replaced:
            self._wakeup = Wakeup.replace(self._loop, tuple(self._replaced))

    def _release(self) -> Callable[[], None]:
        """Put back what is still ours, and give what is to be done in the loop afterwards.

        Who has put a handler over ours since has chained to it, or wants us gone.
        """
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.restore()
        for number, old in self._replaced.items():
            current = signal.signal(number, old)
            if current != self._handler:
                signal.signal(number, current)
        self._replaced = {}
        timers, self._timers = self._timers, []

        def tidy() -> None:
            for timer in timers:
                timer.cancel()
            if wakeup is not None:
                wakeup.close()

        return tidy

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # Between any two bytecodes of the main thread, so nothing is done here that can wait.
        if self._held is None:
            self._held = number
            if not self._call_soon(self._start):
                self._hand_on()
        elif number == signal.SIGINT:
            # The second one of an impatient person. uvicorn ends at once only where it has seen a
            # first one. SIGTERM comes twice wherever a parent process hands on what all got.
            self._call_soon(self._release())
            self._raise_again()
            signal.raise_signal(number)

    def _call_soon(self, function: Callable[[], object]) -> bool:
        loop = self._loop
        soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        try:
            soon(function)
        except RuntimeError:  # the loop has ended, and with it its connections
            return False
        return True

    def _start(self) -> None:
        create_task = getattr(self._loop, "create_task", None)
        if create_task is None:
            self._begin()
        else:
            # In a callback of asyncio's, unlike trio's, anyio cannot tell which library runs.
            self._task = create_task(self._begin_in_task())

    async def _begin_in_task(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if self._held is None:
            return  # raised again by now
        logger.info("%s: the server gets it later.", signal.Signals(self._held).name)
        self.drain()
        if self._connections:
            longest = max((pond.options.drain_seconds for pond in self._ponds), default=0.0)
            self._call_later(longest + _OVERTIME_SECONDS, self._hand_on)
        else:
            self._part()

    def _part(self) -> None:
        """Every connection has ended: it is the server's turn."""
        if self._parting or self._held is None:
            return
        self._parting = True
        if self._replaced.get(self._held) != signal.SIG_DFL:
            # Not now: the connection's own call of the app has not returned yet.
            if not self._call_soon(self._hand_on):
                self._hand_on()
        else:
            is_worker = parent_process() is not None
            seconds = _WORKER_SECONDS if is_worker else _PARTING_SECONDS
            self._call_later(seconds, self._hand_on)

    def _hand_on(self) -> None:
        if self._held is not None:
            self._release()()
            self._raise_again()

    def _raise_again(self) -> None:
        held, self._held = self._held, None
        self._parting = self._draining = False
        if held is not None:
            signal.raise_signal(held)

    def _call_later(self, seconds: float, function: Callable[[], object]) -> None:
        # A thread's timer: no task may outlive the connections, and trio has no other.
        timer = threading.Timer(seconds, self._call_soon, (function,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)


def _is_held(number: int, handler: _Handler) -> bool:
    """Whether a signal with this handler ends a server, and is not the main program's own."""
    if number == signal.SIGTERM and handler == signal.SIG_DFL:
        return True
    return callable(handler) and handler is not signal.default_int_handler


hook: Final = SignalHook()
