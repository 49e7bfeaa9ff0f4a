"""Hooks for events and metrics for numbers, by which an application observes a pond.

Both are unset by default and cost nothing then: there is no call.
"""

import inspect
from enum import StrEnum
from typing import Final, Protocol

from pondsocket_common import CloseCode

from pondsocket._errors import UsageError
from pondsocket._log import get_log
from pondsocket._runtime.functions import is_async
from pondsocket._runtime.loop import failure_of
from pondsocket._state.request import ConnectRequest
from pondsocket._state.user import LeaveReason, User

_log: Final = get_log("pondsocket.hooks")


_OF_CHANNELS: Final = ("joined", "left", "message", "error")


class Hooks:
    """Override the methods that you need; the others do nothing.

    Those that are told of a channel may have one more parameter, `*, path: str = ""`: the path
    whose channel it is, as in `Channel.path`.

    The methods are plain and run in the event loop: hand longer work to a queue of your own. If one
    raises, that is logged and changes nothing else.
    """

    def connected(self, user_id: str, request: ConnectRequest) -> None:
        """React to a new connection."""

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        """React to the end of a connection, after so many seconds. NORMAL: the peer closed it."""

    def joined(self, channel_name: str, user: User) -> None:
        """React to a new member."""

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        """React to the end of a membership."""

    def message(self, channel_name: str, event: str, user_id: str) -> None:
        """React to an event that is about to be handled."""

    def error(self, error: BaseException, channel_name: str, event: str, user_id: str) -> None:
        """React to the failure of a handler. The client is not told the error itself.

        Args:
            event: The event's name; CONNECT, JOIN, LEAVE or TASK where there is none.
        """


class Counter(StrEnum):
    """What `Metrics.count` counts."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    JOINED = "joined"
    LEFT = "left"
    MESSAGE = "message"
    ERROR = "error"
    FRAMES_OUT = "frames_out"
    BYTES_OUT = "bytes_out"
    SLOW_CONSUMER = "slow_consumer"
    DROPPED = "dropped"


class Metrics(Protocol):
    """Receives numbers. Called often: a method should add to a counter and return."""

    def count(self, counter: Counter, amount: int) -> None:
        """Add to a counter. BYTES_OUT counts bytes of JSON."""
        ...

    def queue_depth(self, frames: int) -> None:
        """Record how many frames wait to be written to one connection, after one was added."""
        ...


class Observer:
    """Hooks and metrics together, as the rest of the package calls them. Its methods never raise.

    Raises:
        UsageError: One of them is a class, or has a method that is `async def`.
    """

    def __init__(self, hooks: Hooks | None, metrics: Metrics | None) -> None:
        for watcher in (hooks, metrics):
            if isinstance(watcher, type):
                name = watcher.__name__
                raise UsageError(f"hooks, metrics: {name} is a class: write `{name}()`.")
            for name in dir(type(watcher)):
                if not name.startswith("_") and is_async(getattr(type(watcher), name)):
                    raise UsageError(
                        f"{type(watcher).__name__}.{name}: write `def`; a hook or a metric is"
                        " not awaited. Hand longer work to a queue of your own."
                    )
        self._hooks = hooks or Hooks()
        self._asks_for_path = {name for name in _OF_CHANNELS if _has_path(self._hooks, name)}
        self._metrics = metrics

    @property
    def counts_frames(self) -> bool:
        """Whether every frame has to be counted."""
        return self._metrics is not None

    def connected(self, user_id: str, request: ConnectRequest) -> None:
        """Tell that a connection is open."""
        self._count(Counter.CONNECTED)
        self._tell("connected", user_id, request)

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        """Tell that a connection has ended."""
        self._count(Counter.DISCONNECTED)
        self._tell("disconnected", user_id, request, code, seconds)

    def joined(self, channel_name: str, user: User, path: str) -> None:
        """Tell that a connection has become a member."""
        self._count(Counter.JOINED)
        self._tell_of_channel("joined", path, channel_name, user)

    def left(self, channel_name: str, user: User, reason: LeaveReason, path: str) -> None:
        """Tell that a membership has ended."""
        self._count(Counter.LEFT)
        self._tell_of_channel("left", path, channel_name, user, reason)

    def message(self, channel_name: str, event: str, user_id: str, path: str) -> None:
        """Tell that an event is about to be handled."""
        self._count(Counter.MESSAGE)
        self._tell_of_channel("message", path, channel_name, event, user_id)

    def error(
        self, error: BaseException, channel_name: str, event: str, user_id: str, path: str
    ) -> None:
        """Tell that a handler has failed."""
        self._count(Counter.ERROR)
        self._tell_of_channel("error", path, error, channel_name, event, user_id)

    def slow_consumer(self) -> None:
        """Count a slow consumer that is closed."""
        self._count(Counter.SLOW_CONSUMER)

    def dropped(self, frames: int) -> None:
        """Count frames that were dropped for a slow consumer."""
        self._count(Counter.DROPPED, frames)

    def sent(self, size: int, waiting: int) -> None:
        """Count a frame of `size` bytes that was queued; `waiting` frames are queued now."""
        self._count(Counter.FRAMES_OUT)
        self._count(Counter.BYTES_OUT, size)
        if self._metrics is not None:
            try:
                self._metrics.queue_depth(waiting)
            except BaseException as error:  # noqa: BLE001 - boundary: the application's metrics
                _log.error("Metrics failed (%s).", "queue_depth", exc_info=failure_of(error))

    def _count(self, counter: Counter, amount: int = 1) -> None:
        if self._metrics is not None:
            try:
                self._metrics.count(counter, amount)
            except BaseException as error:  # noqa: BLE001 - boundary: the application's metrics
                _log.error("Metrics failed (%s).", counter, exc_info=failure_of(error))

    def _tell_of_channel(self, name: str, path: str, *arguments: object) -> None:
        if name in self._asks_for_path:
            self._tell(name, *arguments, path=path)
        else:
            self._tell(name, *arguments)

    def _tell(self, name: str, *arguments: object, **more: object) -> None:
        try:
            getattr(self._hooks, name)(*arguments, **more)
        except BaseException as error:  # noqa: BLE001 - boundary: the application's hook
            _log.error("A hook failed (%s).", name, exc_info=failure_of(error))


def _has_path(hooks: Hooks, name: str) -> bool:
    try:
        # Of the class: an attribute of the object itself may be anything, and fail.
        return "path" in inspect.signature(getattr(type(hooks), name)).parameters
    except (TypeError, ValueError):
        return False  # it hides its signature
