"""What a channel has said lately, by position: an epoch, and an offset that counts within it.

A history is what many channels have and few ever read, so it is laid out for its size: columns
instead of a record a message, offsets that follow from the place, and an audience only where a
message has one. At 10,000 channels with 100 messages of 200 bytes, records would be more than a
tenth of the memory (tests/benchmarks/history.py).
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields
from sys import intern
from typing import Final, NamedTuple

from pondsocket._errors import UsageError


@dataclass(frozen=True, kw_only=True)
class History:
    """What each channel of a lobby keeps for those who were away.

    Raises:
        UsageError: A value is no number above 0, or the position would go before the messages.

    Args:
        size: Messages that a channel keeps; 1 makes it a channel of a latest value.
        ttl: How long it keeps a message, in seconds.
        max_bytes: Bytes of messages that it keeps; one that is larger by itself is not kept.
        position_ttl: How long the position outlives the last message and the last member, in
            seconds. Whoever comes back within it, having missed nothing, is told so.
    """

    # A screenful or two; what a phone misses in a tunnel.
    size: int = 100
    # The longest that clients commonly go on trying to reconnect before somebody reloads.
    ttl: float = 300.0
    # No more than one join may recover.
    max_bytes: int = 1_048_576
    # A laptop that was closed overnight.
    position_ttl: float = 86_400.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, is_whole = getattr(self, field.name), field.type is int
            kinds = int if is_whole else int | float
            # math.inf would keep for ever what nobody may ask for again.
            if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
                noun = "a whole number" if is_whole else "a number of seconds"
                raise UsageError(f"History.{field.name} is {noun}, above 0: {value!r}.")
        if self.position_ttl < self.ttl:
            raise UsageError(
                f"History.position_ttl ({self.position_ttl}) is less than ttl ({self.ttl}):"
                " without its position nothing of a history can be recovered."
            )


class Audience(NamedTuple):
    """To whom a message went that did not go to all: to these users, or to all but them.

    User ids, and not members: who was not connected at the time is who will ask.
    """

    users: tuple[str, ...]
    is_exclusion: bool = False

    def includes(self, user_id: str) -> bool:
        """Whether it went to this user."""
        return (user_id in self.users) is not self.is_exclusion


class Kept(NamedTuple):
    """One message of a history.

    Args:
        text: The encoded message, with its position.
        event: Its event's name, which event streams carry beside the text.
    """

    offset: int
    text: bytes
    event: str


# What an id in an audience takes: a pointer, and a short str that nobody else may hold.
_BYTES_PER_USER: Final = 64


class HistoryLog:
    """The messages of one channel in one life of its history. The clock is passed in.

    Old messages are cut off in bulk: by `append` when there is an eighth too many, exactly by
    whoever reads (`expire` first).

    Args:
        epoch: Names this life; never used twice for one channel.
        now: The time, in seconds from any start.
    """

    __slots__ = (
        "_audiences", "_cut_at", "_events", "_left_at", "_max_bytes", "_members", "_options",
        "_said_at", "_texts", "_times", "byte_count", "epoch", "top",
    )  # fmt: skip

    def __init__(self, options: History, epoch: str, now: float) -> None:
        self.epoch = epoch
        self.top = 0  # the offset of the latest message, kept or not
        self.byte_count = 0  # of what is kept
        self._options = options
        self._max_bytes = options.max_bytes
        # From this offset on there is an eighth too many.
        self._cut_at = 1 + options.size + options.size // 8
        # The last place of each column is that of the offset `top`.
        self._texts: list[bytes] = []
        self._events: list[str] = []
        self._times = array("d")
        self._audiences: dict[int, Audience] | None = None
        self._members = 0
        self._said_at = self._left_at = now

    @property
    def first(self) -> int:
        """The offset of the oldest message that is kept; where none is, that of the next one."""
        return self.top - len(self._texts) + 1

    def __len__(self) -> int:
        return len(self._texts)

    # --- writing ------------------------------------------------------------------------------

    def append(self, text: bytes, event: str, now: float, audience: Audience | None = None) -> None:
        """Keep a message, whose text says the offset `top + 1`."""
        # Once for every broadcast: see tests/benchmarks/history.py before adding to it.
        self.top = top = self.top + 1
        # A copy: the encoder's own bytes stand in a block of 4 KiB, however short they are.
        self._texts.append(b"%b" % text)
        try:
            event = intern(event)  # it comes anew with every request; this way it is kept once
        except TypeError:
            event = str.__str__(event)  # a StrEnum's
        self._events.append(event)
        self._times.append(now)
        self.byte_count += len(text)
        if audience is not None:
            if self._audiences is None:
                self._audiences = {}
            self._audiences[top] = audience
            self.byte_count += _BYTES_PER_USER * len(audience.users)
        if top >= self._cut_at or self.byte_count > self._max_bytes:
            self.expire(now)

    def expire(self, now: float) -> None:
        """Cut off what is too much or too old; nobody else wakes up to do it."""
        options, times, horizon = self._options, self._times, now - self._options.ttl
        # The times are in order, so mostly the first one says that nothing is too old.
        aged = bisect_right(times, horizon) if times and times[0] <= horizon else 0
        surplus = max(len(times) - options.size, aged)
        if surplus > 0:
            self._cut(surplus)
        if self.byte_count > options.max_bytes:
            self._cut_bytes(self.byte_count - options.max_bytes)

    def _cut_bytes(self, surplus: int) -> None:
        count, offset = 0, self.first
        while surplus > 0:
            surplus -= len(self._texts[count]) + self._audience_bytes(offset + count)
            count += 1
        self._cut(count)

    def _cut(self, count: int) -> None:
        first = self.first
        self._said_at = self._times[-1]
        self._cut_at += count
        self.byte_count -= sum(map(len, self._texts[:count]))
        if self._audiences:
            for offset in range(first, first + count):
                self.byte_count -= self._audience_bytes(offset)
                self._audiences.pop(offset, None)
        del self._texts[:count], self._events[:count], self._times[:count]

    def _audience_bytes(self, offset: int) -> int:
        audience = None if self._audiences is None else self._audiences.get(offset)
        return 0 if audience is None else _BYTES_PER_USER * len(audience.users)

    # --- reading ------------------------------------------------------------------------------

    def next_after(self, offset: int, user_id: str | None = None) -> Kept | None:
        """The next message after an offset that went to this user, or (None) to anybody."""
        first = self.first
        for found in range(max(offset + 1, first), self.top + 1):
            if not self._audiences or self._is_for(found, user_id):
                return Kept(found, self._texts[found - first], self._events[found - first])
        return None

    def after(self, offset: int, user_id: str | None = None) -> Iterator[Kept]:
        """All of them, in order; not to be held while messages come and go."""
        while (kept := self.next_after(offset, user_id)) is not None:
            yield kept
            offset = kept.offset

    def weigh_after(self, offset: int, user_id: str | None = None) -> tuple[int, int]:
        """How many they are, and of how many bytes."""
        if self._audiences:
            sizes = [len(kept.text) for kept in self.after(offset, user_id)]
        else:
            sizes = [len(text) for text in self._texts[max(offset + 1 - self.first, 0) :]]
        return len(sizes), sum(sizes)

    def before_last(self, count: int, user_id: str | None = None) -> int:
        """The offset behind which the last `count` messages for this user stand."""
        offset = self.top
        while count > 0 and offset >= self.first:
            count -= self._is_for(offset, user_id)
            offset -= 1
        return offset

    def has_audience_after(self, offset: int) -> bool:
        """Whether any message after an offset did not go to all."""
        return self._audiences is not None and any(at > offset for at in self._audiences)

    def _is_for(self, offset: int, user_id: str | None) -> bool:
        audience = None if self._audiences is None else self._audiences.get(offset)
        return audience is None or user_id is None or audience.includes(user_id)

    # --- its life -----------------------------------------------------------------------------

    def enter(self) -> None:
        """One member more; a history with members does not end."""
        self._members += 1

    def leave(self, now: float) -> None:
        """One member less."""
        self._members -= 1
        self._left_at = now

    @property
    def is_in_use(self) -> bool:
        """Whether the channel has members."""
        return self._members > 0

    def is_over(self, now: float) -> bool:
        """Whether the position has outlived the last message and the last member long enough."""
        if self._members:
            return False
        said_at = self._times[-1] if self._times else self._said_at
        return max(said_at, self._left_at) <= now - self._options.position_ttl
