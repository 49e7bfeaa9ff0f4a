"""What a channel's members show of themselves: one listed object a user, one entry a tab."""

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
        # user -> connection -> object; the last one of the inner dict is the one listed.
        self._users: dict[str, dict[str, Payload]] = {}

    def track(self, user_id: str, connection_id: str, shown: Payload) -> PresenceChange:
        """Show an object for a connection, in place of what it showed before."""
        entries = self._users.get(user_id)
        if entries is None:
            self._users[user_id] = {connection_id: shown}
            return PresenceChange(PresenceEventTypes.JOIN, shown)
        entries.pop(connection_id, None)  # so that it goes to the end
        entries[connection_id] = shown
        return PresenceChange(PresenceEventTypes.UPDATE, shown)

    def untrack(self, user_id: str, connection_id: str) -> PresenceChange | None:
        """Show nothing for a connection any more; None if the list does not change by it."""
        entries = self._users.get(user_id, {})
        if connection_id not in entries:
            return None
        was_listed = next(reversed(entries)) == connection_id
        removed = entries.pop(connection_id)
        if not entries:
            del self._users[user_id]
            return PresenceChange(PresenceEventTypes.LEAVE, removed)
        if not was_listed:
            return None
        return PresenceChange(PresenceEventTypes.UPDATE, next(reversed(entries.values())))

    def is_tracked(self, user_id: str, connection_id: str) -> bool:
        """Whether the connection shows an object."""
        return connection_id in self._users.get(user_id, ())

    def listed(self) -> dict[str, Payload]:
        """The listed object of each user, in the order of their joining."""
        return {user: next(reversed(shown.values())) for user, shown in self._users.items()}

    def of_user(self, user_id: str) -> Payload | None:
        """The listed object of a user."""
        entries = self._users.get(user_id)
        return next(reversed(entries.values())) if entries else None
