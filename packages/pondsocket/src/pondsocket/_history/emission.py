"""A reorder buffer: broadcasts are emitted in the order of their positions. Pure.

A store that answers late may tell the positions in any order. A broadcast whose position is known
is held while an append is under way that may get a lower position. That can only be one that was
under way when this position came: an append that begins later gets a higher position. If the
broadcast with the position just before it is emitted, there is no lower position left to come. So
an append that fails holds the others no longer than it takes.
"""

from collections import deque
from typing import Final, Generic, TypeVar

from pondsocket_common import Position

from pondsocket._errors import PondError

T = TypeVar("T")

# Of one channel. A store that answers within 5 ms then takes 12,800 broadcasts a second.
MOST_UNDER_WAY: Final = 64


class Emission(Generic[T]):
    """The broadcasts of one channel that wait for their positions, or for those before them."""

    __slots__ = ("_emitted", "_epoch", "_held", "_next_ticket", "_ready", "_under_way")

    def __init__(self) -> None:
        self._epoch: str | None = None
        # The offset of the latest that may be emitted; the first offset of an epoch is 1.
        self._emitted = 0
        self._next_ticket = 0
        # The tickets of the appends that are under way, in the order in which they began.
        self._under_way: dict[int, None] = {}
        # By offset: what has its position, and the first ticket that was not given out then.
        self._held: dict[int, tuple[int, T]] = {}
        self._ready: deque[T] = deque()

    def check_room(self) -> None:
        """Raise an error if too many broadcasts wait for one more to be appended.

        Raises:
            PondError: 503.
        """
        if len(self._under_way) + len(self._held) >= MOST_UNDER_WAY:
            raise PondError("The history of this channel answers too slowly.", 503)

    def begin(self) -> int:
        """Note that an append is under way. Return its ticket."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self._under_way[ticket] = None
        return ticket

    def answer(self, ticket: int, position: Position, item: T) -> None:
        """Note an append's position, and what is to be emitted at it."""
        del self._under_way[ticket]
        if position.epoch != self._epoch:  # the epoch of all that is held has ended
            self._release(max(self._held, default=0))
            self._epoch, self._emitted = position.epoch, 0
        self._held[position.offset] = (self._next_ticket, item)
        self._settle()

    def fail(self, ticket: int) -> None:
        """Note that an append has failed."""
        del self._under_way[ticket]
        self._settle()

    def take(self) -> T | None:
        """Return the next item that may be emitted; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def _settle(self) -> None:
        oldest = next(iter(self._under_way), self._next_ticket)
        certain = [offset for offset, (ticket, _) in self._held.items() if ticket <= oldest]
        if certain:
            self._release(max(certain))
        while self._emitted + 1 in self._held:
            self._release(self._emitted + 1)

    def _release(self, top: int) -> None:
        """Let all items up to an offset be emitted."""
        for offset in sorted(self._held):
            if offset <= top:
                self._ready.append(self._held.pop(offset)[1])
                self._emitted = offset
