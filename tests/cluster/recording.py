"""A node without a pond: it writes to an engine, and records what the engine tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import anyio
from pondsocket.backplane import (
    Append,
    Backplane,
    Change,
    Entry,
    Keep,
    LinkLost,
    Op,
    Put,
    Result,
    Slice,
    Topic,
)
from pondsocket_common import Position

KEEP: Final = Keep(100, 60.0, 1_000_000, 600.0)
_names = count(1)


class RecordingNode:
    """One node of an engine, as its `Listener`, too.

    Attributes:
        log: All that was told, in order, as tuples that begin with the method's name.
    """

    def __init__(self, backplane: Backplane) -> None:
        self.backplane = backplane
        self.name = f"n{next(_names):04}"
        self.lease = ""
        self.ups = 0
        self.is_up = False
        self.log: list[tuple[Any, ...]] = []
        self.seq = 0
        self._changed = anyio.Event()

    # --- as a Listener ---

    def up(self) -> None:
        self.ups += 1
        self.is_up = True
        self._note("up")

    def down(self, reason: str) -> None:
        self.is_up = False
        self._note("down", reason)

    def lease_lost(self, lease: str) -> None:
        self.lease = lease
        self._note("lease_lost", lease)

    def dead(self, lease: str) -> None:
        self._note("dead", lease)

    def emitted(self, topic: Topic, data: bytes) -> None:
        self._note("emitted", topic, data)

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        assert prev in (0, entry.offset - 1) or prev < entry.offset
        self._note("appended", topic, Position(epoch, entry.offset), entry)

    def shown(self, topic: Topic, at: Position, changes: Sequence[Change]) -> None:
        self._note("shown", topic, at, tuple(changes))

    def _note(self, *what: Any) -> None:
        self.log.append(what)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # --- for tests ---

    def told(self, kind: str, topic: Topic | None = None) -> list[tuple[Any, ...]]:
        """Return what was told by one method, without its name."""
        found = [each[1:] for each in self.log if each[0] == kind]
        return found if topic is None else [each for each in found if each[0] == topic]

    async def until(self, is_so: Callable[[], object], *, seconds: float = 15.0) -> None:
        """Wait until something is so."""
        with anyio.fail_after(seconds):
            while not is_so():
                await self._changed.wait()

    async def apply(self, *ops: Op, seq: int | None = None) -> list[Result]:
        """Carry out operations under the next number; after a lost link, again."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        while True:
            try:
                return await self.backplane.apply(seq, ops)
            except LinkLost:
                await self.until(lambda: not self.is_up)
                await self.until(lambda: self.is_up)

    async def append(
        self, topic: Topic, data: bytes, keep: Keep = KEEP, *, spare: str = "", once: str = ""
    ) -> Position:
        (result,) = await self.apply(Append(topic, data, keep, spare, once))
        assert isinstance(result, Position)
        return result

    async def put(self, topic: Topic, ref: str, user: str, shown: bytes | None = None) -> Result:
        (result,) = await self.apply(Put(topic, ref, user, shown))
        return result

    async def read(
        self, topic: Topic, since: Position | None = None, keep: Keep = KEEP, latest: int = 0
    ) -> Slice:
        return await self.backplane.read(topic, since, keep, latest)


@asynccontextmanager
async def running(*backplanes: Backplane) -> AsyncIterator[list[RecordingNode]]:
    """Run nodes, with a link each, until the block ends."""
    nodes = [RecordingNode(each) for each in backplanes]
    async with anyio.create_task_group() as tasks:
        for node in nodes:
            tasks.start_soon(node.backplane.run, node, node.name)
        for node in nodes:
            await node.until(lambda node=node: node.is_up)  # type: ignore[misc]
        yield nodes
        tasks.cancel_scope.cancel()
