"""A channel's history in the memory of this process."""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass, fields
from typing import Final

from pondsocket_common import Position

from pondsocket._errors import UsageError

from .budget import HistoryBudget
from .slice import Audience, HistorySlice

_tuple: Final = tuple.__new__


@dataclass(frozen=True, kw_only=True)
class History:
    """What each channel of a lobby keeps for members that were away.

    Raises:
        UsageError: A value is not a number above 0, `position_ttl` is less than `ttl`, or
            `max_total_bytes` less than `max_bytes`.

    Args:
        size: How many messages a channel keeps; 1 makes it a channel of a latest value.
        ttl: How long it keeps a message, in seconds.
        max_bytes: How many bytes of messages it keeps; a single larger message is not kept.
        max_total_bytes: How many bytes all channels of the lobby keep together. Beyond that, those
            without members lose their messages first, beginning with the one that was left first.
        position_ttl: How long the position outlives the last message and the last member, in
            seconds. A client that comes back within it and has missed nothing is told so.
    """

    # One or two screens of messages; what a phone misses in a tunnel.
    size: int = 100
    # The longest that clients commonly try to reconnect before the user reloads the page.
    ttl: float = 300.0
    # As much as one join may recover.
    max_bytes: int = 1_048_576
    # An eighth of a small container: 64 channels at their fullest, 2,000 with 100 messages of 200
    # bytes. Clients that name channels and send to them can fill all of it within seconds.
    max_total_bytes: int = 67_108_864
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
        if self.max_total_bytes < self.max_bytes:
            raise UsageError(
                f"History.max_total_bytes ({self.max_total_bytes}), which is for all channels, is"
                f" less than max_bytes ({self.max_bytes}), which is for each."
            )


# What a user id in an audience takes: a pointer, and a short str that may be kept alive only by it.
_BYTES_PER_USER: Final = 64
# A longer name of an event, which clients may choose, counts by its length as well.
_SHORT_NAME: Final = 64
# What a message takes besides its text: 65 in the columns, and a short name of an event.
_BYTES_PER_MESSAGE: Final = 128
# The budget is told when a history has grown by this much, or by an eighth.
_LEAST_GROWTH: Final = 1_024


class HistoryLog(HistorySlice):
    """The history of one channel, in one epoch. The caller passes the time.

    Old messages are cut in bulk: by `append` when there is an eighth too many, and exactly by
    `expire`, which readers call first.

    Args:
        now: The time, in seconds from any start.
        budget: The bound that it shares with others; None: it has one of its own.

    Attributes:
        weight: What the budget counts for it: its bytes and those of its columns, as of its last
            growth by an eighth.
    """

    __slots__ = (
        "_budget",
        "_cut_at",
        "_grown_at",
        "_left_at",
        "_members",
        "_options",
        "_said_at",
        "_times",
        "byte_count",
        "weight",
    )

    def __init__(
        self,
        options: History,
        epoch: str,
        now: float,
        budget: "HistoryBudget[HistoryLog] | None" = None,
    ) -> None:
        super().__init__(epoch)
        self.byte_count = 0  # of what is kept
        self.weight = 0
        self._budget = HistoryBudget(options.max_total_bytes) if budget is None else budget
        self._options = options
        # At more bytes than these there may be too many, here or in all.
        self._grown_at = 0
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
        if len(event) > _SHORT_NAME:
            self.byte_count += len(event)
        top = self.top
        if top >= self._cut_at or self.byte_count > self._grown_at:
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
        self._weigh()

    def _weigh(self) -> None:
        """Tell the budget what is kept now."""
        count = self.byte_count
        self._grown_at = min(self._options.max_bytes, count + max(_LEAST_GROWTH, count >> 3))
        before, self.weight = self.weight, count + _BYTES_PER_MESSAGE * len(self._times)
        if self.weight != before:
            self._budget.note(self, self.weight - before)

    def cut_to(self, weight: int) -> None:
        """Drop the oldest messages, so that it weighs no more than this. The position stays."""
        surplus = self.byte_count + _BYTES_PER_MESSAGE * len(self._times) - weight
        count, offset = 0, self.first
        while surplus > 0 and offset + count <= self.top:
            at = offset + count
            surplus -= self.size_at(at) + self._name_bytes(at) + _BYTES_PER_MESSAGE
            count += 1
        if count:
            self._cut(count)
        self._weigh()

    def _cut_bytes(self, surplus: int) -> None:
        count, offset = 0, self.first
        while surplus > 0:
            surplus -= self.size_at(offset + count) + self._name_bytes(offset + count)
            count += 1
        self._cut(count)

    def _cut(self, count: int) -> None:
        first = self.first
        self._said_at = self._times[-1]
        self._cut_at += count
        self.byte_count -= self.size_of(count)
        lengths = [*map(len, self._events[:count])]
        if max(lengths) > _SHORT_NAME:
            self.byte_count -= sum([length for length in lengths if length > _SHORT_NAME])
        audiences = self._audiences
        if audiences:
            for offset in range(first, first + count):
                audience = audiences.pop(offset, None)
                if audience is not None:
                    self.byte_count -= _BYTES_PER_USER * len(audience.users)
        del self._records[:count], self._events[:count], self._times[:count]

    def _name_bytes(self, offset: int) -> int:
        """Return what the names of a message count as: of its audience, and long ones of events."""
        length = len(self._events[offset - self.first])
        size = length if length > _SHORT_NAME else 0
        audience = None if self._audiences is None else self._audiences.get(offset)
        if audience is not None:
            size += _BYTES_PER_USER * len(audience.users)
        return size

    # --- its end ------------------------------------------------------------------------------

    def enter(self) -> None:
        """Count one more member; a history with members does not end."""
        self._members += 1
        if self._members == 1 and self.weight:
            self._budget.move(self)

    def leave(self, now: float) -> None:
        """Count one member less."""
        self._members -= 1
        self._left_at = now
        if not self._members:
            if self.weight:
                self._budget.move(self)
            self._weigh()

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
