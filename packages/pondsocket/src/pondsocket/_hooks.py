"""What happens, told to whoever wants to know: hooks for events, metrics for numbers.

Both are unset by default and cost nothing then: nobody makes the call.
"""

import logging
from enum import StrEnum
from typing import Final, Protocol

from pondsocket_common import CloseCode

from ._errors import UsageError
from ._functions import is_async
from ._identity import LeaveReason, User
from ._loop import failure_of
from ._request import ConnectRequest

_log: Final = logging.getLogger("pondsocket.hooks")


class Hooks:
    """Override what you want to know of; the rest does nothing.

    The methods are plain and run in the event loop: hand longer work to a queue of your own. One
    that raises is logged and changes nothing else.
    """

    def connected(self, user_id: str, request: ConnectRequest) -> None:
        """A connection is open."""

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        """A connection has ended, after so many seconds; NORMAL: the peer went by itself."""

    def joined(self, channel_name: str, user: User) -> None:
        """A connection has become a member."""

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        """A membership has ended."""

    def message(self, channel_name: str, event: str, user_id: str) -> None:
        """An event is about to be handled."""

    def error(self, error: BaseException, channel_name: str, event: str, user_id: str) -> None:
        """A handler has failed; the client was told no more than that. A join's event is JOIN."""


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
    """Where numbers go. Called often: it should add to a counter and return."""

    def count(self, counter: Counter, amount: int) -> None:
        """Something has happened this many times; BYTES_OUT counts bytes of JSON."""
        ...

    def queue_depth(self, frames: int) -> None:
        """So many frames wait to be written to one connection, now that one more was added."""
        ...


class Observer:
    """Hooks and metrics together, as the rest of the package calls them. Never raises.

    Raises:
        UsageError: At the beginning, if one of their methods is `async def`.
    """

    def __init__(self, hooks: Hooks | None, metrics: Metrics | None) -> None:
        for watcher in (hooks, metrics):
            for name in dir(type(watcher)):
                if not name.startswith("_") and is_async(getattr(type(watcher), name)):
                    raise UsageError(
                        f"{type(watcher).__name__}.{name}: write `def`; nobody awaits a hook or"
                        " a metric. Hand longer work to a queue of your own."
                    )
        self._hooks = hooks or Hooks()
        self._metrics = metrics

    @property
    def counts_frames(self) -> bool:
        """Whether anybody wants to know of every single frame."""
        return self._metrics is not None

    def connected(self, user_id: str, request: ConnectRequest) -> None:
        """A connection is open."""
        self._count(Counter.CONNECTED)
        self._tell("connected", user_id, request)

    def disconnected(
        self, user_id: str, request: ConnectRequest, code: CloseCode, seconds: float
    ) -> None:
        """A connection has ended."""
        self._count(Counter.DISCONNECTED)
        self._tell("disconnected", user_id, request, code, seconds)

    def joined(self, channel_name: str, user: User) -> None:
        """A connection has become a member."""
        self._count(Counter.JOINED)
        self._tell("joined", channel_name, user)

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        """A membership has ended."""
        self._count(Counter.LEFT)
        self._tell("left", channel_name, user, reason)

    def message(self, channel_name: str, event: str, user_id: str) -> None:
        """An event is about to be handled."""
        self._count(Counter.MESSAGE)
        self._tell("message", channel_name, event, user_id)

    def error(self, error: BaseException, channel_name: str, event: str, user_id: str) -> None:
        """A handler has failed."""
        self._count(Counter.ERROR)
        self._tell("error", error, channel_name, event, user_id)

    def slow_consumer(self) -> None:
        """A slow consumer is closed."""
        self._count(Counter.SLOW_CONSUMER)

    def dropped(self, frames: int) -> None:
        """Frames were dropped for a slow consumer."""
        self._count(Counter.DROPPED, frames)

    def sent(self, size: int, waiting: int) -> None:
        """A frame of `size` bytes was queued, and `waiting` frames are now."""
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

    def _tell(self, name: str, *arguments: object) -> None:
        try:
            getattr(self._hooks, name)(*arguments)
        except BaseException as error:  # noqa: BLE001 - boundary: the application's hook
            _log.error("A hook failed (%s).", name, exc_info=failure_of(error))
