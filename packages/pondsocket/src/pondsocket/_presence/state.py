"""The presence of a channel's members: one entry for a membership, one listed object for a user."""

from collections.abc import Iterator
from dataclasses import dataclass

from pondsocket_common import Payload, PresenceEventTypes


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """How the list changed, and the object that changed."""

    kind: PresenceEventTypes
    changed: Payload


class Presence:
    """The presence of one channel.

    A user may have several connections; the object set last is listed. So the first connection that
    is tracked makes a JOIN, a change of the listed object an UPDATE, and the last one that ends a
    LEAVE.

    Attributes:
        byte_count: The sizes of all objects together.
    """

    __slots__ = ("_sizes", "_users", "byte_count")

    def __init__(self) -> None:
        # user -> membership -> object; the last object of the inner dict is listed.
        self._users: dict[str, dict[str, Payload]] = {}
        self._sizes: dict[str, int] = {}  # by membership
        self.byte_count: int = 0

    def growth(self, ref: str, size: int) -> int:
        """Return how much larger `byte_count` gets by an object of this size."""
        return size - self._sizes.get(ref, 0)

    def track(self, user_id: str, ref: str, shown: Payload, size: int = 0) -> PresenceChange | None:
        """Set the object of a membership, in place of its former one.

        Args:
            size: How many bytes it counts as.

        Returns:
            How the list changed; None if the listed object is the same as before.
        """
        self.byte_count += self.growth(ref, size)
        self._sizes[ref] = size
        entries = self._users.get(user_id)
        if entries is None:
            self._users[user_id] = {ref: shown}
            return PresenceChange(PresenceEventTypes.JOIN, shown)
        listed = next(reversed(entries.values()))
        entries.pop(ref, None)  # so that it goes to the end
        entries[ref] = shown
        return None if shown == listed else PresenceChange(PresenceEventTypes.UPDATE, shown)

    def untrack(self, user_id: str, ref: str) -> PresenceChange | None:
        """Remove the object of a membership. None if the list does not change."""
        entries = self._users.get(user_id, {})
        if ref not in entries:
            return None
        self.byte_count -= self._sizes.pop(ref)
        was_listed = next(reversed(entries)) == ref
        removed = entries.pop(ref)
        if not entries:
            del self._users[user_id]
            return PresenceChange(PresenceEventTypes.LEAVE, removed)
        listed = next(reversed(entries.values()))
        if not was_listed or listed == removed:
            return None
        return PresenceChange(PresenceEventTypes.UPDATE, listed)

    def is_tracked(self, user_id: str, ref: str) -> bool:
        """Return whether the membership has an object."""
        return ref in self._users.get(user_id, ())

    def entries(self) -> Iterator[tuple[str, str, Payload]]:
        """Yield the user, the membership and the object of every entry."""
        for user, shown in self._users.items():
            for ref, payload in shown.items():
                yield user, ref, payload

    def listed(self) -> dict[str, Payload]:
        """Return the listed object of each user, in the order of their joins."""
        return {user: next(reversed(shown.values())) for user, shown in self._users.items()}

    def of_user(self, user_id: str) -> Payload | None:
        """Return the listed object of a user; None if there is none."""
        entries = self._users.get(user_id)
        return next(reversed(entries.values())) if entries else None
