"""A channel's history in the memory of this process."""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass, fields
from typing import Final

from pondsocket_common import Position

from pondsocket._errors import UsageError

from .slice import Audience, HistorySlice

_tuple: Final = tuple.__new__


@dataclass(frozen=True, kw_only=True)
class History:
    """What each channel of a lobby keeps for members that were away.

    Raises:
        UsageError: A value is not a number above 0, or `position_ttl` is less than `ttl`.

    Args:
        size: How many messages a channel keeps; 1 makes it a channel of a latest value.
        ttl: How long it keeps a message, in seconds.
        max_bytes: How many bytes of messages it keeps; a single larger message is not kept.
        position_ttl: How long the position outlives the last message and the last member, in
            seconds. A client that comes back within it and has missed nothing is told so.
    """

    # One or two screens of messages; what a phone misses in a tunnel.
    size: int = 100
    # The longest that clients commonly try to reconnect before the user reloads the page.
    ttl: float = 300.0
    # As much as one join may recover.
    max_bytes: int = 1_048_576
    # For a laptop that was closed overnight.
    position_ttl: float = 86_400.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, is_whole = getattr(self, field.name), field.type is int
            kinds = int if is_whole else int | float
            # math.inf would keep for ever what no client may ever ask for.
            if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
                noun = "a whole number" if is_whole else "a number of seconds"
                raise UsageError(f"History.{field.name} is {noun}, above 0: {value!r}.")
        if self.position_ttl < self.ttl:
            raise UsageError(
                f"History.position_ttl ({self.position_ttl}) is less than ttl ({self.ttl}):"
                " without its position nothing of a history can be recovered."
            )


# What a user id in an audience takes: a pointer, and a short str that may be kept alive only by it.
_BYTES_PER_USER: Final = 64


class HistoryLog(HistorySlice):
    """The history of one channel, in one epoch. The caller passes the time.

    Old messages are cut in bulk: by `append` when there is an eighth too many, and exactly by
    `expire`, which readers call first.

    Args:
        now: The time, in seconds from any start.
    """

    __slots__ = (
        "_cut_at",
        "_left_at",
        "_max_bytes",
        "_members",
        "_options",
        "_said_at",
        "_times",
        "byte_count",
    )

    def __init__(self, options: History, epoch: str, now: float) -> None:
        super().__init__(epoch)
        self.byte_count = 0  # of what is kept
        self._options = options
        self._max_bytes = options.max_bytes
        # At this offset there is an eighth too many.
        self._cut_at = 1 + options.size + options.size // 8
        self._times = array("d")
        self._members = 0
        self._said_at = self._left_at = now

    # --- as a ChannelLog ------------------------------------------------------------------------

    def append(
        self,
        event: str,
        request_id: str,
        payload: bytes,
        now: float,
        audience: Audience | None = None,
    ) -> Position:
        """Keep a message. Return its position."""
        # Runs once for every broadcast: see tests/benchmarks/history.py before adding to it.
        self.byte_count += self.add(event, request_id, payload, audience)
        self._times.append(now)
        if audience is not None:
            self.byte_count += _BYTES_PER_USER * len(audience.users)
        top = self.top
        if top >= self._cut_at or self.byte_count > self._max_bytes:
            self.expire(now)
        # As `Position(…)`, at half the cost.
        return _tuple(Position, (self.epoch, top))

    def read(self, _since: Position | None, _latest: int, now: float, /) -> HistorySlice:
        """Return all that is kept: this log itself, which goes on."""
        self.expire(now)
        return self

    def expire(self, now: float) -> None:
        """Cut what is too much or too old. There is no timer that does it."""
        options, times, horizon = self._options, self._times, now - self._options.ttl
        # The times are in order, so mostly the first one shows that nothing is too old.
        aged = bisect_right(times, horizon) if times and times[0] <= horizon else 0
        surplus = max(len(times) - options.size, aged)
        if surplus > 0:
            self._cut(surplus)
        if self.byte_count > options.max_bytes:
            self._cut_bytes(self.byte_count - options.max_bytes)

    def _cut_bytes(self, surplus: int) -> None:
        count, offset = 0, self.first
        while surplus > 0:
            surplus -= self.size_at(offset + count) + self._audience_bytes(offset + count)
            count += 1
        self._cut(count)

    def _cut(self, count: int) -> None:
        first = self.first
        self._said_at = self._times[-1]
        self._cut_at += count
        self.byte_count -= self.size_of(count)
        if self._audiences:
            for offset in range(first, first + count):
                self.byte_count -= self._audience_bytes(offset)
                self._audiences.pop(offset, None)
        del self._records[:count], self._events[:count], self._times[:count]

    def _audience_bytes(self, offset: int) -> int:
        audience = None if self._audiences is None else self._audiences.get(offset)
        return 0 if audience is None else _BYTES_PER_USER * len(audience.users)

    # --- its end ------------------------------------------------------------------------------

    def enter(self) -> None:
        """Count one more member; a history with members does not end."""
        self._members += 1

    def leave(self, now: float) -> None:
        """Count one member less."""
        self._members -= 1
        self._left_at = now

    @property
    def is_in_use(self) -> bool:
        """Whether the channel has members."""
        return self._members > 0

    def is_over(self, now: float) -> bool:
        """Return whether `position_ttl` has passed since the last message and the last member."""
        if self._members:
            return False
        said_at = self._times[-1] if self._times else self._said_at
        return max(said_at, self._left_at) <= now - self._options.position_ttl
