"""The order in which broadcasts leave whose positions come late, or out of turn. Pure.

A broadcast may leave when those before it have left. An answer that comes early is held. If an
append fails, its position may be missing: what is held leaves as soon as no append is under way
that could still bring it.
"""

from typing import Final, Generic, TypeVar

from pondsocket_common import Position

from pondsocket._errors import PondError

T = TypeVar("T")

# Of one channel. A store that answers within 5 ms then takes 12,800 broadcasts a second.
MOST_UNDER_WAY: Final = 64


class Emission(Generic[T]):
    """The broadcasts of one channel that wait for their positions, or for those before them.

    Attributes:
        offset: The offset of the latest that has left; None: none has left in this epoch.
    """

    __slots__ = ("_epoch", "_held", "_under_way", "offset")

    def __init__(self) -> None:
        self.offset: int | None = None
        self._epoch: str | None = None
        self._under_way = 0
        self._held: dict[int, T] = {}

    def check_room(self) -> None:
        """Refuse one append more if there are too many.

        Raises:
            PondError: 503.
        """
        if self._under_way + len(self._held) >= MOST_UNDER_WAY:
            raise PondError("The history of this channel answers too slowly.", 503)

    def begin(self) -> None:
        """Count one append that is under way."""
        self._under_way += 1

    def answer(self, position: Position, item: T) -> list[T]:
        """Note an append's position. Return what may leave now, in order."""
        self._under_way -= 1
        leaving: list[T] = []
        if position.epoch != self._epoch:  # what is held is of an epoch that is over
            leaving = self._take_all()
            self._epoch, self.offset = position.epoch, None
        self._held[position.offset] = item
        return leaving + self._ready()

    def fail(self) -> list[T]:
        """Note that an append has failed. Return what may leave now, in order."""
        self._under_way -= 1
        return self._ready()

    def may_bring(self, offset: int) -> bool:
        """Return whether a broadcast with this offset, or a lower one, may still leave."""
        is_waiting = self._under_way > 0 or bool(self._held)
        return is_waiting and (self.offset is None or self.offset < offset)

    def _ready(self) -> list[T]:
        if not self._under_way:
            return self._take_all()
        leaving: list[T] = []
        while self.offset is not None and self.offset + 1 in self._held:
            self.offset += 1
            leaving.append(self._held.pop(self.offset))
        return leaving

    def _take_all(self) -> list[T]:
        leaving = [self._held[offset] for offset in sorted(self._held)]
        if self._held:
            self.offset = max(self._held)
        self._held = {}
        return leaving
