"""Reads the history and the presence of a topic from Redis, page by page.

A reply counts against the output limit of the connection, which is that of a subscriber: 32 MiB by
default, and 8 MiB over a minute. One that is longer would end the link, again and again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from pondsocket_common import Position, fresh_epoch

from pondsocket.backplane._interface import Change, Entry, Keep, Roster, Slice, Topic

from ._keys import Keys
from ._scripts import milliseconds

# Together below the output limit, with room for what is published meanwhile.
_PAGE_BYTES: Final = 524_288
_AT_ONCE: Final = 4


# What is known of a topic without members and messages.
_KEPT_SECONDS: Final = 86_400.0


class Pages:
    """What is read of all topics.

    Args:
        ask: Runs a script; see `RedisBackplane`.
    """

    def __init__(self, keys: Keys, ask: Callable[..., Awaitable[Any]]) -> None:
        self._keys = keys
        self._ask = ask
        self._free = anyio.Semaphore(_AT_ONCE)

    async def read(self, topic: Topic, since: Position | None, keep: Keep, latest: int) -> Slice:
        """Return messages of a topic; see `Backplane.read`."""
        while True:
            found = await self._read(topic, since, keep, latest)
            if found is not None:
                return found

    async def _read(
        self, topic: Topic, since: Position | None, keep: Keep, latest: int
    ) -> Slice | None:
        """Read a topic to its top. None: it has changed between two pages."""
        keys = self._keys.run, *self._keys.of(topic)
        times = milliseconds(keep.ttl), milliseconds(keep.position_ttl)
        known = since or Position("", 0)
        entries: list[Entry] = []
        while True:
            is_next = int(bool(entries))
            fresh = fresh_epoch()
            limits = latest, keep.size, *times, fresh, _PAGE_BYTES, is_next
            async with self._free:
                name, top, page, more = await self._ask("read", keys, *known, *limits)
            epoch = name.decode()
            if entries and (epoch != known.epoch or not page or page[0][0] != known.offset + 1):
                return None
            entries += [Entry(offset, data, spared.decode()) for offset, data, spared in page]
            if not more:
                return Slice(epoch, top, tuple(entries), is_new=epoch == fresh)
            known = Position(epoch, entries[-1].offset)

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what; see `Backplane.roster`."""
        while True:
            found = await self._roster(topic)
            if found is not None:
                return found

    async def _roster(self, topic: Topic) -> Roster | None:
        """Read a roster. None: its epoch has changed between two pages.

        It is that of the first page, mixed with later changes. Who listens hears of these as well:
        what a later page has already is told once more.
        """
        keys = self._keys.run, *self._keys.of(topic)
        at: Position | None = None
        shown: dict[str, Change] = {}
        cursor: str | bytes = "0"
        while True:
            kept = milliseconds(_KEPT_SECONDS)
            async with self._free:
                name, version, page, cursor = await self._ask(
                    "roster", keys, fresh_epoch(), kept, cursor, _PAGE_BYTES
                )
            at = at or Position(name.decode(), version)
            if name.decode() != at.epoch:
                return None
            for ref, user, value in page:
                shown[ref.decode()] = Change(ref.decode(), user.decode(), value)
            if cursor == b"0":
                return Roster(at, tuple(shown.values()))
