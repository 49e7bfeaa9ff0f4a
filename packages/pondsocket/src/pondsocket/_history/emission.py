"""The order in which broadcasts leave whose positions come late, or out of turn. Pure.

They leave in the order of their positions. An answer that comes early is held until no append is
under way that may bring a lower position. Those are the appends that were under way when it came:
one that begins later gets a higher position. If the position before it has just left, there are
none at all. So an append that fails holds the others no longer than it takes.
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

    __slots__ = ("_epoch", "_held", "_left", "_next_ticket", "_ready", "_under_way")

    def __init__(self) -> None:
        self._epoch: str | None = None
        self._left = 0  # the offset of the latest that may leave; the first of an epoch is 1
        self._next_ticket = 0
        # The tickets of the appends that are under way, in the order in which they began.
        self._under_way: dict[int, None] = {}
        # By offset: what has its position, and the first ticket that was not given out then.
        self._held: dict[int, tuple[int, T]] = {}
        self._ready: deque[T] = deque()

    def check_room(self) -> None:
        """Refuse one append more if there are too many.

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
        """Note an append's position, and what is to leave at it."""
        del self._under_way[ticket]
        if position.epoch != self._epoch:  # what is held is of an epoch that is over
            self._release(max(self._held, default=0))
            self._epoch, self._left = position.epoch, 0
        self._held[position.offset] = (self._next_ticket, item)
        self._settle()

    def fail(self, ticket: int) -> None:
        """Note that an append has failed."""
        del self._under_way[ticket]
        self._settle()

    def take(self) -> T | None:
        """Return the next that may leave; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def _settle(self) -> None:
        oldest = next(iter(self._under_way), self._next_ticket)
        certain = [offset for offset, (ticket, _) in self._held.items() if ticket <= oldest]
        if certain:
            self._release(max(certain))
        while self._left + 1 in self._held:
            self._release(self._left + 1)

    def _release(self, top: int) -> None:
        """Let all leave that are held up to an offset."""
        for offset in sorted(self._held):
            if offset <= top:
                self._ready.append(self._held.pop(offset)[1])
                self._left = offset
