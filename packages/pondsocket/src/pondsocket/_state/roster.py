"""Connections, by id and by user."""

from collections.abc import Collection, Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Peer(Protocol):
    """What a roster has to know of an entry."""

    @property
    def connection_id(self) -> str: ...
    @property
    def user_id(self) -> str: ...


P = TypeVar("P", bound=Peer)


class _Several(list[P]):
    """The entries of one user, oldest first."""

    __slots__ = ()


class Copied(Collection[P]):
    """A view of entries, whose loops run over a copy: the entries may change meanwhile."""

    __slots__ = ("_view",)

    def __init__(self, view: Collection[P]) -> None:
        self._view = view

    def __iter__(self) -> Iterator[P]:
        return iter([*self._view])

    def __len__(self) -> int:
        return len(self._view)

    def __contains__(self, entry: object) -> bool:
        return entry in self._view


class Roster(Generic[P]):
    """Entries: one for each connection, and one or several for each user."""

    __slots__ = ("_by_connection", "_by_user")

    def __init__(self) -> None:
        self._by_connection: dict[str, P] = {}
        # Most users have one entry and need no list: this saves 0.17 KiB a member, in two rosters
        # (`python -m tests.benchmarks`, "Memory of an idle member").
        self._by_user: dict[str, P | _Several[P]] = {}

    def add(self, entry: P) -> None:
        """Add an entry, in place of an entry of the same connection."""
        replaced = self._by_connection.get(entry.connection_id)
        if replaced is not None:
            self.remove(replaced)
        self._by_connection[entry.connection_id] = entry
        others = self._by_user.get(entry.user_id)
        if others is None:
            self._by_user[entry.user_id] = entry
        elif isinstance(others, _Several):
            others.append(entry)
        else:
            self._by_user[entry.user_id] = _Several((others, entry))

    def remove(self, entry: P) -> bool:
        """Remove this entry. False if it is not there."""
        if self._by_connection.get(entry.connection_id) is not entry:
            return False
        del self._by_connection[entry.connection_id]
        entries = self._by_user[entry.user_id]
        if isinstance(entries, _Several):
            entries.remove(entry)
        if not isinstance(entries, _Several) or not entries:
            del self._by_user[entry.user_id]
        return True

    def get(self, connection_id: str) -> P | None:
        """Return the entry of a connection."""
        return self._by_connection.get(connection_id)

    def of_user(self, user_id: str) -> list[P]:
        """Return the entries of a user, oldest first. A copy: the roster may change meanwhile."""
        entries = self._by_user.get(user_id)
        if entries is None:
            return []
        return entries.copy() if isinstance(entries, _Several) else [entries]

    def of_users(self, user_ids: Iterable[str]) -> list[P]:
        """Return the entries of several users, each once."""
        return [entry for user in dict.fromkeys(user_ids) for entry in self.of_user(user)]

    def has_user(self, user_id: str) -> bool:
        """Return whether the user has an entry."""
        return user_id in self._by_user

    @property
    def user_count(self) -> int:
        """How many users there are."""
        return len(self._by_user)

    def everyone(self) -> Collection[P]:
        """Return a view of all entries, which shows each change."""
        return self._by_connection.values()

    def __len__(self) -> int:
        return len(self._by_connection)

    def __iter__(self) -> Iterator[P]:
        return iter(self._by_connection.values())
