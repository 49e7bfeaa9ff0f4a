"""Presence for members that asked for diffs: what they were told, and what has changed since.

What happens to one membership within a tick is one change: a join and an update are a join with
the latest object, a join and a leave are nothing.
"""

from pondsocket_common import PresenceDiff, PresenceEntry


class PresenceLog:
    """The told state of one channel, and the changes not told yet, by membership.

    A newcomer is given the told state, not the actual one: then the next diff is right for it as
    for everybody else, and is encoded once.
    """

    __slots__ = ("_changed", "_told")

    def __init__(self, entries: list[PresenceEntry]) -> None:
        self._told = {entry.ref: entry for entry in entries}
        self._changed: dict[str, PresenceEntry | None] = {}

    def show(self, entry: PresenceEntry) -> None:
        """A membership shows this now."""
        self._changed[entry.ref] = entry

    def hide(self, ref: str) -> None:
        """A membership shows nothing any more."""
        if ref in self._told:
            self._changed[ref] = None
        else:
            self._changed.pop(ref, None)

    def state(self) -> PresenceDiff:
        """What everybody has been told, as joins."""
        return PresenceDiff(joins=tuple(self._told.values()))

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._changed)

    def take(self) -> PresenceDiff:
        """The changes; from now on they count as told."""
        joins: list[PresenceEntry] = []
        updates: list[PresenceEntry] = []
        leaves: list[PresenceEntry] = []
        for ref, entry in self._changed.items():
            known = self._told.get(ref)
            if entry is None:
                leaves.append(self._told.pop(ref))
            elif entry != known:
                (joins if known is None else updates).append(entry)
                self._told[ref] = entry
        self._changed = {}
        return PresenceDiff(tuple(joins), tuple(updates), tuple(leaves))
