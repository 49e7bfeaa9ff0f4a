"""One topic's place in the engine's order: deliver, hold, fill a gap, or begin anew. Pure."""

from typing import NamedTuple

from pondsocket_common import Position

from pondsocket.backplane import Entry, Slice

from .numbered import Numbered


class Filled(NamedTuple):
    """What follows from a read.

    Args:
        anew: If messages before it are lost to the members: the position to tell them, after which
            `entries` come. Else None.
        entries: The messages to deliver, in order.
    """

    anew: Position | None
    entries: list[tuple[Position, Entry]]


class Ordering(Numbered[Entry]):
    """The messages of one topic: each is delivered once, in the engine's order."""

    __slots__ = ()

    def fill(self, found: Slice) -> Filled:
        """Return what to deliver after a read; after the first one, what has come since."""
        known = self.position
        top = Position(found.epoch, found.top)
        if known is None:
            return Filled(None, self.settle(top))
        is_whole = known.epoch == found.epoch and found.begins_after <= known.offset <= found.top
        start = known.offset if is_whole else found.begins_after
        missed = [
            (Position(found.epoch, each.offset), each)
            for each in found.entries
            if each.offset > start
        ]
        anew = None if is_whole else Position(found.epoch, start)
        return Filled(anew, missed + self.settle(top))
