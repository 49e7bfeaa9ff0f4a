"""What a channel's members show of themselves: one listed object a user, one entry a membership."""

from collections.abc import Iterator
from dataclasses import dataclass

from pondsocket_common import Payload, PresenceEventTypes


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """What happened to the list, and the object it happened to."""

    kind: PresenceEventTypes
    changed: Payload


class Presence:
    """The presence of one channel.

    A user may have several connections; listed is the object set last. So the list knows a JOIN
    with the first tracked connection, an UPDATE when the listed object changes, and a LEAVE with
    the last.
    """

    __slots__ = ("_users",)

    def __init__(self) -> None:
        # user -> membership -> object; the last one of the inner dict is the one listed.
        self._users: dict[str, dict[str, Payload]] = {}

    def track(self, user_id: str, ref: str, shown: Payload) -> PresenceChange | None:
        """Show an object for a membership, in place of what it showed before.

        Returns:
            What happened to the list; None where the listed object is the same as before.
        """
        entries = self._users.get(user_id)
        if entries is None:
            self._users[user_id] = {ref: shown}
            return PresenceChange(PresenceEventTypes.JOIN, shown)
        listed = next(reversed(entries.values()))
        entries.pop(ref, None)  # so that it goes to the end
        entries[ref] = shown
        return None if shown == listed else PresenceChange(PresenceEventTypes.UPDATE, shown)

    def untrack(self, user_id: str, ref: str) -> PresenceChange | None:
        """Show nothing for a membership any more; None if the list does not change by it."""
        entries = self._users.get(user_id, {})
        if ref not in entries:
            return None
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
        """Whether the membership shows an object."""
        return ref in self._users.get(user_id, ())

    def entries(self) -> Iterator[tuple[str, str, Payload]]:
        """User, membership and object of everything that is shown."""
        for user, shown in self._users.items():
            for ref, payload in shown.items():
                yield user, ref, payload

    def listed(self) -> dict[str, Payload]:
        """The listed object of each user, in the order of their joining."""
        return {user: next(reversed(shown.values())) for user, shown in self._users.items()}

    def of_user(self, user_id: str) -> Payload | None:
        """The listed object of a user."""
        entries = self._users.get(user_id)
        return next(reversed(entries.values())) if entries else None
