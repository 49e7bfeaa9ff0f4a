"""Faults of an engine that come on demand, in memory as on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import pytest
from anyio.abc import TaskGroup
from pondsocket.backplane import Backplane
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.backplane.redis import RedisBackplane

from .engines import LEASE, OPTIONS, new_prefix
from .proxy import Proxy
from .redis_server import RedisServer


class FaultyEngine(Protocol):
    """An engine, and the links of some nodes to it, by their place."""

    async def backplane(self, **options: Any) -> Backplane:
        """Return the access of one more node."""
        ...

    def cut(self, place: int) -> None:
        """End a link. The node connects again."""
        ...

    def forget(self) -> None:
        """Lose everything, as an engine that keeps nothing on a disk and starts again."""
        ...

    def cut_off(self, *places: int) -> None:
        """End links, and refuse new ones, until `mend`; without places: of all nodes."""
        ...

    def silence(self, place: int) -> None:
        """Lose what the engine sends to a node until `mend`."""
        ...

    def lose_reply(self, place: int) -> None:
        """Carry out what a node sends next, and lose the reply, and the link until `mend`."""
        ...

    def mend(self, *places: int) -> None:
        """End what the others have begun; without places: for all nodes."""
        ...


class FaultyMemory:
    """A `MemoryHub`."""

    def __init__(self) -> None:
        self._hub = MemoryHub(lease=LEASE)
        self._nodes: list[MemoryBackplane] = []

    async def backplane(self, **options: Any) -> Backplane:
        self._hub.outage = options.get("outage", "refuse")
        self._hub.max_payload = options.get("max_payload", 1_048_576)
        self._nodes.append(self._hub.backplane())
        return self._nodes[-1]

    def cut(self, place: int) -> None:
        self._nodes[place].cut()

    def forget(self) -> None:
        self._hub.stop()
        self._hub.start(forget=True)

    def cut_off(self, *places: int) -> None:
        for place in places or range(len(self._nodes)):
            self._nodes[place].cut(for_good=True)

    def silence(self, place: int) -> None:
        self._nodes[place].silence()

    def lose_reply(self, place: int) -> None:
        self.silence(place)
        self._nodes[place]._faults.is_cut = True
        self._nodes[place].lose_results()

    def mend(self, *places: int) -> None:
        for place in places or range(len(self._nodes)):
            self._nodes[place].mend()


class FaultyRedis:
    """A Redis, with a proxy before it for each node."""

    def __init__(self, server: RedisServer, tasks: TaskGroup, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.proxies: list[Proxy] = []
        self._tasks = tasks

    async def backplane(self, **options: Any) -> Backplane:
        proxy = Proxy(self.server.port)
        await self._tasks.start(proxy.run)
        self.proxies.append(proxy)
        return RedisBackplane(proxy.url, prefix=self.prefix, **{**OPTIONS, **options})

    def cut(self, place: int) -> None:
        self.proxies[place].cut()

    def forget(self) -> None:
        self.server.call("DEL", *self.server.call("KEYS", f"{{{self.prefix}:*"))

    def cut_off(self, *places: int) -> None:
        for place in places or range(len(self.proxies)):
            self.proxies[place].cut(for_good=True)

    def silence(self, place: int) -> None:
        self.proxies[place].swallows_replies = True

    def lose_reply(self, place: int) -> None:
        self.silence(place)

    def mend(self, *places: int) -> None:
        for place in places or range(len(self.proxies)):
            self.proxies[place].mend()


@asynccontextmanager
async def faulty(
    setting: tuple[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[FaultyEngine]:
    """Return the engine of a setting; see `engines.setting`."""
    if setting[0] == "memory":
        yield FaultyMemory()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with anyio.create_task_group() as tasks:
        yield FaultyRedis(server, tasks, new_prefix())
        tasks.cancel_scope.cancel()
