"""SIGTERM and SIGINT, held back until all connections have been told and have ended.

A server that gets one of them cuts all WebSockets at once and waits for event streams for ever;
lifespan shutdown comes only after both. So this module handles the signals while there are
connections. The first signal begins the drain of every pond. When the last connection has ended,
the server's own handler is restored and the signal is raised again. It uses `signal.signal`, which
can be undone on every server: what `loop.add_signal_handler` replaces cannot be read back.
"""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from types import FrameType
from typing import Any, Final, TypeAlias
from weakref import WeakSet

import anyio.lowlevel
from pondsocket import PondSocket
from pondsocket.adapter import get_log

from .servers import HypercornWorker, is_ending
from .wakeup import Wakeup

logger = get_log("pondsocket.asgi.signals")

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

# For a hypercorn worker to end by itself. If the signal ends it, the parent ends all others too.
_WORKER_SECONDS: Final = 2.0
# For the closing handshakes of the last connections, where the signal kills the process at once.
_HAND_BACK_SECONDS: Final = 0.1
# How long a connection may take after the drain: handlers, leave handlers, and a slow reader.
_OVERTIME_SECONDS: Final = 10.0


class SignalHook:
    """Holds the process's SIGTERM and SIGINT while there are connections."""

    def __init__(self) -> None:
        self._ponds: WeakSet[PondSocket] = WeakSet()
        self._connections = 0
        self._replaced: dict[int, _Handler] = {}
        self._below: dict[int, _Handler] = {}  # for calls of ours while no signal is held
        self._handler: Final = self._on_signal  # one object, so that it can be compared
        self._wakeup: Wakeup | None = None
        self._loop: _MainLoop | None = None
        self._held: int | None = None
        self._draining = False
        self._is_handing_back = False
        self._is_short = False  # of a descriptor, at the last attempt to hold the signals
        self._limit: float | None = None

    @property
    def should_exit(self) -> bool:
        """Whether the process is ending; other frameworks read this from the signal's handler."""
        return self._held is not None or is_ending(self._replaced.get(signal.SIGTERM))

    def ask_server(self) -> bool:
        """Begin the drain if the server has begun to end without a signal.

        Returns whether a drain is going on.
        """
        if not self._draining and self.should_exit and _is_main_thread():
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
        except Exception:  # boundary: the process has to end whatever a pond does
            logger.exception("The drain of a pond failed.")

    # --- connections --------------------------------------------------------------------------

    def enter(self, pond: PondSocket) -> bool:
        """Note that a connection begins. False if this cannot hold the signals."""
        if not _is_main_thread():
            # Only the main thread has signals, and the program there ends this server its own way.
            return False
        if pond not in self._ponds:
            self._ponds.add(pond)
        self._connections += 1
        try:
            if not self._replaced and (self._connections == 1 or self._is_short):
                self._hold()
            if (worker := HypercornWorker.find()) is not None:
                self._limit = worker.drain_limit
                worker.when_it_ends(self.drain)
            if self.ask_server():
                self._drain(pond)
        except BaseException:
            self.leave()
            raise
        return True

    def leave(self) -> None:
        """Note that a connection has ended."""
        self._connections -= 1
        if self._connections:
            return
        if self._held is not None:
            self._hand_back()
            return
        self._draining = self._is_short = False
        try:
            self._release()()
        finally:
            self._loop = None  # the next connection may run in another one

    def _hold(self) -> None:
        """Hold the signals, if there is a descriptor for that. Else a later connection tries it."""
        was_short, self._is_short = self._is_short, False
        try:
            self._install()
        except OSError as error:
            self._is_short = True
            self._release()()
            if not was_short:  # once, or each connection would write it
                logger.warning(
                    "Signals are not held for now, and would end the server without a drain: %s.",
                    error,
                )

    # --- the signals --------------------------------------------------------------------------

    def _install(self) -> None:
        native = anyio.lowlevel.current_token().native_token
        self._loop = _MainLoop(native)
        for number in (signal.SIGTERM, signal.SIGINT):
            old = signal.getsignal(number)
            if old == self._handler:  # other code had replaced it for a while and restored it
                old = self._below.get(number, signal.SIG_DFL)
            if _is_held(number, old):
                self._replaced[number] = old
                signal.signal(number, self._handler)
        if self._replaced:
            self._wakeup = Wakeup.replace(native, tuple(self._replaced))

    def _release(self) -> Callable[[], None]:
        """Restore the handlers that are still ours. Return what to call in the loop afterwards.

        A handler that other code has set since stays. It may call ours, which then calls the one
        that ours replaced.
        """
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.restore()
        for number, old in self._replaced.items():
            current = signal.signal(number, old)
            if current != self._handler:
                signal.signal(number, current)
                self._below[number] = old
        self._replaced = {}
        loop = self._loop

        def tidy() -> None:
            if loop is not None:
                loop.forget_later()
            if wakeup is not None:
                wakeup.close()

        return tidy

    def forget(self) -> None:
        """Restore the handlers in a forked child, where our loop does not run."""
        self._release()  # its result is not called: the descriptor is the parent's
        self._connections = 0
        self._held = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Runs between any two bytecodes of the main thread, so it does only what cannot wait.
        if number not in self._replaced:
            self._pass_on(number, frame)
        elif self._held is None:
            self._held = number
            if self._loop is None or not self._loop.soon_in_task(self._begin):
                self._hand_on()
        elif number == signal.SIGINT:
            # A second Ctrl-C ends the server at once. The held signal is raised too: uvicorn ends
            # at once only at its second one. A second SIGTERM is ignored: it comes when a parent
            # process passes on what the whole process group has got.
            tidy = self._release()
            if self._loop is not None:
                self._loop.soon(tidy)
            self._raise_again()
            signal.raise_signal(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Call the server's handler: another handler called ours while no signal is held."""
        below = self._below.get(number, signal.SIG_DFL)
        if callable(below):
            below(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _begin(self) -> None:
        if self._held is None or self._loop is None:
            return  # the signal has been raised again meanwhile
        logger.info("%s: the server gets it later.", signal.Signals(self._held).name)
        self.drain()
        if self._connections:
            longest = max((pond.options.drain_seconds for pond in self._ponds), default=0.0)
            self._loop.later(longest + _OVERTIME_SECONDS, self._hand_on)
        else:
            self._hand_back()

    def _hand_back(self) -> None:
        """Pass the signal on to the server, now that every connection has ended."""
        if self._is_handing_back or self._held is None or self._loop is None:
            return
        self._is_handing_back = True
        if self._replaced.get(self._held) == signal.SIG_DFL:
            is_worker = parent_process() is not None
            seconds = _WORKER_SECONDS if is_worker else _HAND_BACK_SECONDS
            self._loop.later(seconds, self._hand_on)
        # Not at once: the last connection's call of the app has not returned yet.
        elif not self._loop.soon(self._hand_on):
            self._hand_on()

    def _hand_on(self) -> None:
        if self._held is not None:
            self._release()()
            self._raise_again()

    def _raise_again(self) -> None:
        held, self._held = self._held, None
        self._is_handing_back = self._draining = False
        if held is not None:
            signal.raise_signal(held)


class _MainLoop:
    """The event loop of the main thread, for calls from signal handlers and timers.

    Args:
        native: asyncio's loop or trio's token; neither library is imported here.
    """

    def __init__(self, native: Any) -> None:
        self._soon: Final = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        self._create_task: Final[Any] = getattr(native, "create_task", None)
        self._call_later: Final[Any] = getattr(native, "call_later", None)
        self._task: object = None
        self._timers: list[Any] = []

    def soon(self, function: Callable[[], object]) -> bool:
        """Call a function in the loop. False if the loop has ended, and its connections with it."""
        try:
            self._soon(function)
        except RuntimeError:
            return False
        return True

    def soon_in_task(self, function: Callable[[], object]) -> bool:
        """Call a function in a task of the loop: anyio does not work in callbacks of asyncio."""
        create_task = self._create_task
        if create_task is None:
            return self.soon(function)

        async def call() -> None:
            function()

        def start() -> None:
            self._task = create_task(call())

        return self.soon(start)

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function in the loop after a while."""
        # A thread: no task may outlive the connections, and trio has no timers without tasks.
        timer: Any = threading.Timer(seconds, self.soon, (function,))
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no thread is left
            if self._call_later is None:
                self.soon(function)  # at once, or the signal would be lost, and the process stay
                return
            timer = self._call_later(seconds, function)
        self._timers.append(timer)

    def forget_later(self) -> None:
        """Cancel every call that `later` has planned."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_held(number: int, handler: _Handler) -> bool:
    """Return whether a signal with this handler ends a server, not only the main program."""
    if number == signal.SIGTERM and handler == signal.SIG_DFL:
        return True
    return callable(handler) and handler is not signal.default_int_handler


hook: Final = SignalHook()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=hook.forget)
