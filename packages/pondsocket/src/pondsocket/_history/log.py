"""A channel's latest messages, by position: an epoch, and an offset that counts within it.

Many channels have a history and few read it, so its layout saves memory: columns instead of a
record for each message, offsets that follow from the index, and an audience only for a message that
has one. With 10,000 channels of 100 messages of 200 bytes, records would take more than a tenth of
the memory (tests/benchmarks/history.py).
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


class Audience(NamedTuple):
    """The recipients of a message that did not go to all: these users, or all but these.

    User ids, not members: the users who will ask for it were not connected at the time.
    """

    users: tuple[str, ...]
    is_exclusion: bool = False

    def includes(self, user_id: str) -> bool:
        """Return whether the message was for this user."""
        return (user_id in self.users) is not self.is_exclusion


class Kept(NamedTuple):
    """One message of a history.

    Args:
        text: The encoded message, with its position.
        event: The event's name, which event streams send beside the text.
    """

    offset: int
    text: bytes
    event: str


# What a user id in an audience takes: a pointer, and a short str that may be kept alive only by it.
_BYTES_PER_USER: Final = 64


class HistoryLog:
    """The messages of one channel in one epoch of its history. The caller passes the time.

    Old messages are cut in bulk: by `append` when there is an eighth too many, and exactly by
    `expire`, which readers call first.

    Args:
        epoch: Its name; never used twice for one channel.
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
        # At this offset there is an eighth too many.
        self._cut_at = 1 + options.size + options.size // 8
        # The last index of each column is that of the offset `top`.
        self._texts: list[bytes] = []
        self._events: list[str] = []
        self._times = array("d")
        self._audiences: dict[int, Audience] | None = None
        self._members = 0
        self._said_at = self._left_at = now

    @property
    def first(self) -> int:
        """The offset of the oldest message that is kept; if none is kept, that of the next one."""
        return self.top - len(self._texts) + 1

    def __len__(self) -> int:
        return len(self._texts)

    # --- writing ------------------------------------------------------------------------------

    def append(self, text: bytes, event: str, now: float, audience: Audience | None = None) -> None:
        """Keep a message, whose text has the offset `top + 1`."""
        # Runs once for every broadcast: see tests/benchmarks/history.py before adding to it.
        self.top = top = self.top + 1
        # A copy: the encoder's own bytes take a block of 4 KiB, however short they are.
        self._texts.append(b"%b" % text)
        try:
            event = intern(event)  # each request brings an equal string; this keeps one of them
        except TypeError:
            event = str.__str__(event)  # of a StrEnum
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
        """Return the next message after an offset that was for this user, or (None) for any."""
        first = self.first
        for found in range(max(offset + 1, first), self.top + 1):
            if not self._audiences or self._is_for(found, user_id):
                return Kept(found, self._texts[found - first], self._events[found - first])
        return None

    def after(self, offset: int, user_id: str | None = None) -> Iterator[Kept]:
        """Yield all messages of `next_after`, in order. Do not keep it while messages change."""
        while (kept := self.next_after(offset, user_id)) is not None:
            yield kept
            offset = kept.offset

    def weigh_after(self, offset: int, user_id: str | None = None) -> tuple[int, int]:
        """Return how many messages `after` yields, and how many bytes they have."""
        if self._audiences:
            sizes = [len(kept.text) for kept in self.after(offset, user_id)]
        else:
            sizes = [len(text) for text in self._texts[max(offset + 1 - self.first, 0) :]]
        return len(sizes), sum(sizes)

    def before_last(self, count: int, user_id: str | None = None) -> int:
        """Return the offset after which the last `count` messages for this user come."""
        offset = self.top
        while count > 0 and offset >= self.first:
            count -= self._is_for(offset, user_id)
            offset -= 1
        return offset

    def has_audience_after(self, offset: int) -> bool:
        """Return whether any message after an offset did not go to all."""
        return self._audiences is not None and any(at > offset for at in self._audiences)

    def _is_for(self, offset: int, user_id: str | None) -> bool:
        audience = None if self._audiences is None else self._audiences.get(offset)
        return audience is None or user_id is None or audience.includes(user_id)

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
