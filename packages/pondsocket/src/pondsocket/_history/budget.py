"""The bytes of all histories of a lobby together. Pure.

Any client that may join and send can fill one history after another, and each stays for `ttl`. So
they have one bound. What is kept for channels without members goes first, beginning with the one
that was left first: its position stays, and a client that comes back is told `recovered: false`.
Where that is not enough, channels with members that hold more than an equal share are cut to it.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

# How many histories with members one growing history looks at: a few microseconds.
_MOST_LOOKS: Final = 64


class Kept(Protocol):
    """One history, as far as the budget uses it."""

    @property
    def is_in_use(self) -> bool:
        """Whether the channel has members."""
        ...

    @property
    def weight(self) -> int:
        """How many bytes the budget counts for it."""
        ...

    def cut_to(self, weight: int) -> None:
        """Drop the oldest messages, so that it weighs no more than this."""
        ...


K = TypeVar("K", bound=Kept)


class HistoryBudget(Generic[K]):
    """The bound on all histories of a lobby.

    Attributes:
        taken: The bytes that they take.
    """

    __slots__ = ("_in_use", "_is_making_room", "_left", "_most", "taken")

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0
        self._is_making_room = False
        # Those with messages, whose channels have members, and have none: the first left is first.
        self._in_use: OrderedDict[K, None] = OrderedDict()
        self._left: OrderedDict[K, None] = OrderedDict()

    def note(self, log: K, change: int) -> None:
        """Note that the weight of a history has changed. If there is too much, make room."""
        self.taken += change
        weight = log.weight
        if not weight:
            self._in_use.pop(log, None)
            self._left.pop(log, None)
        elif weight == change:  # it had no messages before
            self.move(log)
        # What is cut says so here, and may have grown since it last did.
        if change > 0 and self.taken > self._most and not self._is_making_room:
            self._is_making_room = True
            try:
                self._make_room(log)
            finally:
                self._is_making_room = False

    def move(self, log: K) -> None:
        """Note that a channel that has a weight has its first member, or has lost its last."""
        new, old = (self._in_use, self._left) if log.is_in_use else (self._left, self._in_use)
        old.pop(log, None)
        new[log] = None
        new.move_to_end(log)

    def _make_room(self, growing: K) -> None:
        while self._left and self.taken > self._most:
            self._left.popitem(last=False)[0].cut_to(0)
        for _ in range(_MOST_LOOKS):
            if self.taken <= self._most or not self._in_use:
                break
            log = next(iter(self._in_use))
            self._in_use.move_to_end(log)
            log.cut_to(self._most // len(self._in_use))
        # Whatever the others hold: the bound is held by the one that would exceed it.
        if self.taken > self._most:
            growing.cut_to(max(0, growing.weight - (self.taken - self._most)))
