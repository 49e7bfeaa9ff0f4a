"""What comes in an order that the engine numbers, with gaps that a read has to fill. Pure.

An item is taken at once if it is the next one. Otherwise it is held, as is all that comes after it,
until what was read closes the gap.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from pondsocket_common import Position

T = TypeVar("T")

# What comes while a read is under way, which takes milliseconds. Beyond it, all is read again.
MOST_HELD: Final = 1_024


class _Held(NamedTuple, Generic[T]):
    epoch: str
    prev: int
    offset: int
    item: T


class Numbered(Generic[T]):
    """The items of one topic, by epoch and offset.

    Attributes:
        position: That of the latest item; None before the first read.
        is_behind: Whether a read is needed: items may be missing.
    """

    __slots__ = ("_held", "_held_before_read", "_is_suspected", "is_behind", "position")

    def __init__(self) -> None:
        self.position: Position | None = None
        self.is_behind = True
        self._held: list[_Held[T]] = []
        self._held_before_read = 0
        self._is_suspected = False  # since the latest read has begun

    def take(self, epoch: str, prev: int, offset: int, item: T) -> bool:
        """Return whether an item is the next one. If not, it is an old one, or it is held.

        Args:
            prev: The offset before it; 0: unknown.
        """
        if not self.is_behind and self._is_next(epoch, prev, offset):
            self.position = Position(epoch, offset)
            return True
        if not self.is_behind and self._is_old(epoch, offset):
            return False
        self.is_behind = True
        if len(self._held) >= MOST_HELD:
            # The engine keeps them. This one is held, so that one more read is asked for.
            self._held.clear()
            self._held_before_read = 0
        self._held.append(_Held(epoch, prev, offset, item))
        return False

    def _is_next(self, epoch: str, prev: int, offset: int) -> bool:
        known = self.position
        return (
            known is not None
            and epoch == known.epoch
            and offset > known.offset
            and (offset == known.offset + 1 or prev == known.offset > 0)
        )

    def _is_old(self, epoch: str, offset: int) -> bool:
        known = self.position
        return known is not None and epoch == known.epoch and offset <= known.offset

    def suspect(self) -> None:
        """Note that items may be missing, for instance because a new link has begun."""
        self.is_behind = self._is_suspected = True

    def begin_read(self) -> None:
        """Note that a read begins: what is held now is older than what it will return."""
        self._held_before_read = len(self._held)
        self._is_suspected = False

    def settle(self, position: Position) -> list[tuple[Position, T]]:
        """Go on after a position that was read. Return the held items that follow it.

        `is_behind` stays true if one is missing, or if some were suspected to be missing since the
        read has begun: then another read is needed.
        """
        held, older = self._held, self._held_before_read
        self._held = []
        self._held_before_read = 0
        self.position = position
        self.is_behind = False
        following: list[tuple[Position, T]] = []
        for place, each in enumerate(held):
            if place < older and each.epoch != position.epoch:
                continue  # of an epoch that had ended when it was read
            if self.take(*each):
                following.append((Position(each.epoch, each.offset), each.item))
        self.is_behind = self.is_behind or self._is_suspected
        return following
