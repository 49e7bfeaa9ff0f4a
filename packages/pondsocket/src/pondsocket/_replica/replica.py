"""The presence of one topic, as the engine orders it: a roster, and changes by version. Pure."""

from collections.abc import Sequence
from typing import Final

from pondsocket_common import Position

from pondsocket.backplane import Change, Roster

from .numbered import Numbered

# Between two calls of `expire` that are several times a second. If it was longer, this process
# stood still, and has not heard what happened meanwhile.
_LONGEST_STEP: Final = 1.0


class Replica:
    """What the memberships of a topic show, on all nodes.

    After an engine has lost its memory, its rosters are empty until the nodes have put their
    memberships again. So what is missing in the first roster of an epoch is kept for as long as
    they may take to return. Only time in which the engine could be reached counts: an outage that
    follows keeps the other nodes away as well.

    Args:
        doubt_seconds: How long they may take.
    """

    __slots__ = ("_counted_at", "_doubt_left", "_doubt_seconds", "_doubtful", "_shown", "numbered")

    def __init__(self, doubt_seconds: float) -> None:
        self.numbered: Numbered[Sequence[Change]] = Numbered()
        self._shown: dict[str, Change] = {}  # by ref
        self._doubtful: dict[str, Change] = {}  # by ref: those that the present epoch has not named
        self._doubt_seconds = doubt_seconds
        self._doubt_left = 0.0
        self._counted_at = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether a roster must be read."""
        return self.numbered.is_behind

    @property
    def is_in_doubt(self) -> bool:
        """Whether some are kept although the engine does not name them."""
        return bool(self._doubtful)

    def take(self, at: Position, changes: Sequence[Change]) -> list[Change]:
        """Take changes. Return those to tell the members now."""
        if not self.numbered.take(at.epoch, 0, at.offset, changes):
            return []
        return self._apply(changes)

    def fill(self, found: Roster, now: float) -> list[Change]:
        """Take a roster that was read. Return the changes to tell the members."""
        before = self.numbered.position
        is_new_epoch = before is not None and before.epoch != found.at.epoch
        named = {each.ref: each for each in found.shown}
        missing = {ref: each for ref, each in self._shown.items() if ref not in named}
        if is_new_epoch:
            self._doubtful = dict(missing)
            self._doubt_left, self._counted_at = self._doubt_seconds, now
        told: list[Change] = []
        for ref, each in missing.items():
            if ref not in self._doubtful:
                told += self._apply([each._replace(shown=None)])
        told += self._apply([each for each in found.shown if each != self._shown.get(each.ref)])
        for ref in named:
            self._doubtful.pop(ref, None)
        for _, changes in self.numbered.settle(found.at):
            told += self._apply(changes)
        return told

    def expire(self, now: float, *, is_up: bool = True) -> list[Change]:
        """Return the changes to tell where a doubt is over. To be called several times a second.

        Args:
            is_up: Whether the engine can be reached.
        """
        step, self._counted_at = now - self._counted_at, now
        if is_up:
            self._doubt_left -= min(step, _LONGEST_STEP)
        if not self._doubtful or self._doubt_left > 0:
            return []
        gone, self._doubtful = self._doubtful, {}
        return self._apply([each._replace(shown=None) for each in gone.values()])

    def entries(self) -> list[Change]:
        """Return what every membership shows."""
        return [*self._shown.values()]

    def _apply(self, changes: Sequence[Change]) -> list[Change]:
        told: list[Change] = []
        for each in changes:
            self._doubtful.pop(each.ref, None)
            if each.shown is not None:
                self._shown[each.ref] = each
                told.append(each)
            elif (before := self._shown.pop(each.ref, None)) is not None:
                told.append(before._replace(shown=None))
        return told
