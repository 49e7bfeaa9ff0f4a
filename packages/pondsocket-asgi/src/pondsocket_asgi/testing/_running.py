"""One call of an ASGI app by a test, on asyncio and trio.

The task belongs to the running loop, not to a task group: a test opens and closes sessions in
any order, which nested task groups forbid. The task ends with its session, or with the loop.
"""

import math
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel

from pondsocket_asgi._scope import Scope

# Any: frameworks have different types for these three, and all of them may be driven.
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

# How long an app may take to answer, and to end after its peer has left, in seconds.
ANSWER_SECONDS: Final = 5.0

# asyncio itself keeps no strong reference to a task.
_tasks: set[object] = set()


def _spawn(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task that the running loop owns; `run` must not raise."""
    # From sys.modules: this package imports neither library, but the running one is imported.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        trio.lowlevel.spawn_system_task(run, context=copy_context())
        return
    task = sys.modules["asyncio"].get_running_loop().create_task(run())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


class PeerLeft(OSError):  # noqa: N818 - not an error
    """Raised by `send` after the test has left. An app need not catch it."""


class RunningApp:
    """A call of an app, in a task.

    Args:
        on_sent: Called with every message that the app sends. If it raises, `send` raises that.
    """

    def __init__(
        self, app: ASGIApp, scope: Scope, on_sent: Callable[[dict[str, Any]], None]
    ) -> None:
        self.has_ended = False
        self._app = app
        self._scope = scope
        self._on_sent = on_sent
        self._queued: deque[Mapping[str, object]] = deque()
        self._goodbye: Mapping[str, object] | None = None
        self._history: deque[str] = deque(maxlen=8)
        self._changed = anyio.Event()
        self._error: BaseException | None = None
        self._unstalled = math.inf
        self._is_cut = False
        self._on_cut: Callable[[dict[str, Any]], None] = on_sent
        self._cancel_scope = anyio.CancelScope()

    def start(self) -> None:
        """Call the app, in a task of its own."""
        _spawn(self._run)

    async def _run(self) -> None:
        cancelled = anyio.get_cancelled_exc_class()
        try:
            with self._cancel_scope:
                await self._app(self._scope, self._receive, self._send)
        except (cancelled, GeneratorExit):
            raise
        except PeerLeft:
            pass
        except BaseException as error:  # noqa: BLE001 - even pytest's own outcomes are the test's
            self._error = error
        finally:
            self.has_ended = True
            self._notify()

    async def _receive(self) -> Mapping[str, object]:
        await anyio.lowlevel.checkpoint()
        while not self._queued:
            if self._goodbye is not None:
                return self._goodbye
            await self._changed.wait()
        return self._queued.popleft()

    async def _send(self, message: Mapping[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        while self._unstalled <= 0 and self._goodbye is None:
            await self._changed.wait()
        self._unstalled -= 1
        if self._is_cut and self._goodbye is None:
            self._on_cut(dict(message))
        if self._goodbye is not None:
            raise PeerLeft("The peer has left.")
        self._history.append(_shorten(message))
        self._on_sent(dict(message))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def feed(self, message: Mapping[str, object]) -> None:
        """Give the app a message to receive."""
        self._queued.append(message)
        self._notify()

    def stall(self, after: float = 0) -> None:
        """Make the app's sends wait after so many more, as for a peer that does not read."""
        self._unstalled = after
        self._notify()

    def cut(self, on_cut: Callable[[dict[str, Any]], None]) -> None:
        """Lose the connection within the next message: `on_cut` gets it, and leaves."""
        self._is_cut, self._on_cut = True, on_cut

    def leave(self, goodbye: Mapping[str, object]) -> None:
        """Disconnect: from now on the app's sends raise, and its receives return `goodbye`."""
        self._goodbye = goodbye
        self._notify()

    def cancel(self) -> None:
        """Cancel the call, as a server does at its end."""
        self._cancel_scope.cancel()

    async def wait_until(self, ready: Callable[[], object], what: str, wait: float) -> None:
        """Return when `ready()` holds or the app has ended.

        Raises:
            TimeoutError: Neither happened within `wait` seconds.
            BaseException: What the app raised; raised only once.
        """
        with anyio.move_on_after(wait):
            while not ready() and not self.has_ended:
                await self._changed.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error
        if not ready() and not self.has_ended:
            raise TimeoutError(f"No {what} within {wait:g} s; {self.what_came()}")

    async def answered(self, ready: Callable[[], object], what: str) -> None:
        """Wait for an answer of the app; if none comes, cancel the call.

        Raises:
            RuntimeError: The app returned without an answer.
        """
        try:
            await self.wait_until(ready, what, ANSWER_SECONDS)
            if not ready():
                raise RuntimeError(f"The app returned without {what}; {self.what_came()}")
        except BaseException:
            self.cancel()
            raise

    async def finish(self) -> None:
        """Wait for the app to end; if it does not, cancel the call."""
        await self.answered(lambda: self.has_ended, "end of the app")

    def what_came(self) -> str:
        """Describe the last few messages that the app has sent, each shortened."""
        if not self._history:
            return "the app has sent nothing."
        return "what the app had sent: " + "; ".join(self._history)


def _shorten(message: Mapping[str, Any]) -> str:
    text = repr({key: value for key, value in message.items() if value not in (None, b"", [])})
    return text if len(text) <= 300 else text[:297] + "..."
