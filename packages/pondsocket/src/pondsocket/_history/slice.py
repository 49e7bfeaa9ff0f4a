"""Messages of a channel's history by position: an epoch, and an offset that counts within it.

Many channels have a history and few read it, so its layout saves memory: columns instead of a
record for each message, offsets that follow from the index, and an audience only for a message that
has one. With 10,000 channels of 100 messages of 200 bytes, records would take more than a tenth of
the memory (tests/benchmarks/history.py).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

# One string for each of the latest names of events: each request brings an equal one. Not
# `sys.intern`: clients may choose names, and some CPythons keep for ever what is interned.
_shared: Final = lru_cache(maxsize=1_024)(str.__str__)
# Between the request id and the payload of a message. JSON text holds no line break.
_BREAK: Final = b"\n"


class Audience(NamedTuple):
    """The recipients of a message that did not go to all: these users, or all but these.

    User ids, not members: the users who will ask for it were not connected at the time.
    """

    users: tuple[str, ...]
    is_exclusion: bool = False

    def includes(self, user_id: str) -> bool:
        """Return whether the message was for this user."""
        return (user_id in self.users) is not self.is_exclusion


class KeptMessage(NamedTuple):
    """One message of a history.

    Args:
        payload: The payload as JSON.
    """

    offset: int
    event: str
    request_id: str
    payload: bytes

    @property
    def size(self) -> int:
        """How many bytes it counts as."""
        return len(self.payload) + len(self.request_id)


class EmittedMessage(NamedTuple):
    """A message that was sent to the members."""

    epoch: str
    kept: KeptMessage
    audience: Audience | None


class HistorySlice:
    """The messages of one epoch, or the latest of them. A member recovers from it.

    Args:
        epoch: Its name, which is never used twice for one channel.
        top: The offset before the first message that is added.
    """

    __slots__ = ("_audiences", "_events", "_records", "epoch", "top")

    def __init__(self, epoch: str, top: int = 0) -> None:
        self.epoch: str = epoch
        self.top: int = top  # the offset of the latest message, kept or not
        # The last index of each column is that of the offset `top`. A record is the request id and
        # the payload: one block of memory and not two.
        self._records: list[bytes] = []
        self._events: list[str] = []
        self._audiences: dict[int, Audience] | None = None

    @property
    def first(self) -> int:
        """The offset of the oldest message that is kept; if none is kept, that of the next one."""
        return self.top - len(self._records) + 1

    def __len__(self) -> int:
        return len(self._records)

    def add(
        self, event: str, request_id: str, payload: bytes, audience: Audience | None = None
    ) -> int:
        """Add a message with the offset `top + 1`. Return how many bytes it counts as.

        Args:
            payload: As JSON.
        """
        # Runs once for every broadcast: see tests/benchmarks/history.py before adding to it.
        self.top = top = self.top + 1
        self._records.append(b"%b\n%b" % (request_id.encode(), payload))
        self._events.append(_shared(event))  # a plain string also of a StrEnum
        if audience is not None:
            if self._audiences is None:
                self._audiences = {}
            self._audiences[top] = audience
        return len(request_id) + len(payload)

    def extend(self, later: Iterable[EmittedMessage]) -> bool:
        """Add messages that were emitted since the slice was read. False if one is missing."""
        for epoch, kept, audience in later:
            if epoch != self.epoch or kept.offset > self.top + 1:
                return False
            if kept.offset == self.top + 1:
                self.add(kept.event, kept.request_id, kept.payload, audience)
        return True

    def next_after(self, offset: int, user_id: str | None = None) -> KeptMessage | None:
        """Return the next message after an offset that was for this user, or (None) for any."""
        first = self.first
        for found in range(max(offset + 1, first), self.top + 1):
            if not self._audiences or self._is_for(found, user_id):
                request_id, _, payload = self._records[found - first].partition(_BREAK)
                return KeptMessage(found, self._events[found - first], request_id.decode(), payload)
        return None

    def after(self, offset: int, user_id: str | None = None) -> Iterator[KeptMessage]:
        """Yield all messages of `next_after`, in order. Do not keep it while messages change."""
        while (kept := self.next_after(offset, user_id)) is not None:
            yield kept
            offset = kept.offset

    def count_after(self, offset: int, user_id: str | None = None) -> tuple[int, int]:
        """Return how many messages `after` yields, and how many bytes they have."""
        if self._audiences:
            sizes = [kept.size for kept in self.after(offset, user_id)]
        else:
            later = range(max(offset + 1, self.first), self.top + 1)
            sizes = [self.size_at(offset) for offset in later]
        return len(sizes), sum(sizes)

    def size_at(self, offset: int) -> int:
        """Return how many bytes the message at an offset counts as; see `KeptMessage.size`."""
        return len(self._records[offset - self.first]) - len(_BREAK)

    def size_of(self, count: int) -> int:
        """Return how many bytes the oldest `count` messages count as."""
        return sum(map(len, self._records[:count])) - count * len(_BREAK)

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
