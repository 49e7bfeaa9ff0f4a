"""Presence for members that asked for diffs: what they were told, and what has changed since.

All that happens to one membership within a tick is one change: a join and an update are a join with
the latest object; a join and a leave are no change.
"""

from pondsocket_common import PresenceDiff, PresenceEntry


class PresenceLog:
    """The state that members were told, and the changes that they were not told yet.

    A new member gets the told state, not the actual one: then the next diff is right for it as for
    all others, and is encoded once.
    """

    __slots__ = ("_changed", "_told")

    def __init__(self, entries: list[PresenceEntry]) -> None:
        self._told = {entry.ref: entry for entry in entries}
        self._changed: dict[str, PresenceEntry | None] = {}

    def show(self, entry: PresenceEntry) -> None:
        """Note the new object of a membership."""
        self._changed[entry.ref] = entry

    def hide(self, ref: str) -> None:
        """Note that a membership has no object any more."""
        if ref in self._told:
            self._changed[ref] = None
        else:
            self._changed.pop(ref, None)

    def state(self) -> PresenceDiff:
        """Return the told state, as joins."""
        return PresenceDiff(joins=tuple(self._told.values()))

    def __bool__(self) -> bool:
        """Return whether there are changes to tell."""
        return bool(self._changed)

    def take(self) -> PresenceDiff:
        """Return the changes. From now on they count as told."""
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
