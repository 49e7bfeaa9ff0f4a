"""The interface of what keeps histories: the memory of this process, or a server of its own.

`append` and `read` return their result if it is known at once; else they return an awaitable. So a
history in memory costs no task and no wait. Awaited results may come late, and in another order
than the calls.
"""

from collections.abc import Awaitable
from typing import Protocol

from pondsocket_common import Position

from .log import History
from .slice import Audience, HistorySlice


class ChannelLog(Protocol):
    """The history of one channel. The caller passes the time, in seconds from any start."""

    def append(
        self,
        event: str,
        request_id: str,
        payload: bytes,
        now: float,
        audience: Audience | None = None,
    ) -> Position | Awaitable[Position]:
        """Keep a message. Return its position, which is above those of all earlier messages.

        A message is earlier if its position was known before this call. Calls that are under way at
        the same time may get their positions in any order. The first message of an epoch has the
        offset 1. An answer that takes too long counts as a failure: the message is not sent, even
        if it is kept.

        Args:
            payload: As JSON.
            audience: The users that it is for; None: all.
        """
        ...

    def read(
        self, since: Position | None, latest: int, now: float, /
    ) -> HistorySlice | Awaitable[HistorySlice]:
        """Return the messages that come after a position, or at least the `latest` last ones.

        The slice may hold more than that. If the messages after the position are not all kept any
        more, it begins with a later one, or has another epoch. Its top is that of the history at
        the time of the call, or later. The caller adds messages to a slice that comes late, so that
        slice must not be shared.
        """
        ...

    def enter(self) -> None:
        """Count one more member; a history with members does not end."""
        ...

    def leave(self, now: float) -> None:
        """Count one member less."""
        ...


class HistoryStore(Protocol):
    """The histories of a lobby, by the key of the channel.

    The key is the channel's name, behind the path if each path has channels of its own.
    """

    @property
    def options(self) -> History:
        """What each channel keeps."""
        ...

    def open(self, key: str, now: float, /) -> ChannelLog:
        """Return the history of a channel; start a new one if there is none or it has expired."""
        ...

    def find(self, key: str, now: float, /) -> ChannelLog | None:
        """Return the history of a channel; None if it is known that there is none."""
        ...

    def is_new(self, key: str, now: float, /) -> bool:
        """Return whether `open` would start a history, as far as that is known at once."""
        ...

    def tidy(self, now: float) -> None:
        """Drop what is too old, if that is due."""
        ...
