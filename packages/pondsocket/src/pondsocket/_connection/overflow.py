"""Connections whose outbox is full: they are closed, or their lobby lets them miss frames.

`_delivery/slow_consumers` has the policies; here one is applied, logged and counted.
"""

import logging
from typing import Final, Protocol

from pondsocket_common import CloseCode

from pondsocket._environment import Environment
from pondsocket._log import about, get_log
from pondsocket._telemetry import safe_log

_log: Final = get_log("pondsocket.endpoint")


class SlowConsumer(Protocol):
    """A connection that reads slower than it is sent to."""

    @property
    def user_id(self) -> str: ...
    def close(self, code: CloseCode, reason: str = "") -> None: ...


class Overflow:
    """What happens to the slow consumers of one endpoint."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._closing: dict[SlowConsumer, None] = {}
        self._dropped: dict[SlowConsumer, int] = {}

    def close(self, session: SlowConsumer) -> None:
        """Close a slow consumer, but never within the closing of another.

        A close sends presence to the other members, which may be one frame too many for the next.
        In a channel of stalled peers this repeats for each: nested, it would exhaust the stack.
        """
        if session in self._closing:
            return
        text = "A slow consumer is closed (user=%r)."
        safe_log.write(_log, logging.WARNING, text, session.user_id, extra=about(session))
        if self._environment.observer is not None:
            self._environment.observer.slow_consumer()
        self._closing[session] = None
        if len(self._closing) > 1:
            return  # the call that is closing the first one closes it too
        try:
            while self._closing:
                first = next(iter(self._closing))
                first.close(CloseCode.SLOW_CONSUMER, "slow consumer")
                del self._closing[first]
        finally:
            # If one close raises, the others are not kept waiting: the next frame closes them.
            self._closing.clear()

    def dropped(self, session: SlowConsumer, frames: int) -> None:
        """Log and count frames that were dropped for a slow consumer, as its lobby allows."""
        if self._environment.observer is not None:
            self._environment.observer.dropped(frames)
        if session not in self._dropped:
            text = "A slow consumer misses events from now on (user=%r)."
            extra = about(session)
            safe_log.write(_log, logging.WARNING, text, session.user_id, extra=extra)
        self._dropped[session] = self._dropped.get(session, 0) + frames

    def caught_up(self, session: SlowConsumer) -> None:
        """Log how many events a session missed. It has read all that waited, or has ended."""
        frames = self._dropped.pop(session, 0)
        if frames:
            text = "A slow consumer missed %d events (user=%r)."
            extra = about(session)
            safe_log.write(_log, logging.WARNING, text, frames, session.user_id, extra=extra)
