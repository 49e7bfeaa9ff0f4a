"""An engine in this process, for tests: several ponds share it, and faults come on demand.

hub = MemoryHub()
one, two = PondSocket(backplane=hub.backplane()), PondSocket(backplane=hub.backplane())
async with one, two:
    ...
    hub.stop()     # the engine cannot be reached
    hub.start()

Nothing of it crosses a process. Applications use `RedisBackplane`.
"""

import os
from collections import deque
from collections.abc import Sequence
from itertools import count, islice
from typing import Final

import anyio
from pondsocket_common import Position

from pondsocket._errors import UsageError

from ._errors import BackplaneUnavailable, LinkLost
from ._interface import Emit, Keep, Listener, Op, Outage, Result, Roster, Slice, Topic
from ._memory_engine import Appended, Emitted, MemoryEngine, Push

__all__ = ["MemoryBackplane", "MemoryHub"]

_RETRY_SECONDS: Final = 0.05
_BEAT_SECONDS: Final = 1.0


class MemoryHub:
    """An engine in this process. Its ponds must run in one event loop.

    Args:
        lease: After how many seconds without a sign of life a node counts as dead.
        delay: How many seconds each call, and each message to a node, takes.
        max_payload: How many bytes a broadcast may have.
        outage: What channels without a history do while the engine is stopped: "refuse" joins, or
            go on within each node, "local".
    """

    def __init__(
        self,
        *,
        lease: float = 10.0,
        delay: float = 0.0,
        max_payload: int = 1_048_576,
        outage: Outage = "refuse",
    ) -> None:
        self.delay = delay
        self.max_payload = max_payload
        self.outage: Outage = outage
        self._engine = MemoryEngine(lease)
        self._key = os.urandom(32)
        self._is_up = True
        self._nodes: list[MemoryBackplane] = []

    def backplane(self) -> "MemoryBackplane":
        """Return the access of one more pond."""
        node = MemoryBackplane(self)
        self._nodes.append(node)
        return node

    # --- faults ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """End all links, and refuse new ones, until `start`."""
        self._is_up = False
        for node in self._nodes:
            node.cut()

    def start(self, *, forget: bool = False) -> None:
        """Let nodes connect again.

        Args:
            forget: Whether the engine has lost everything, as one that keeps nothing on a disk.
        """
        if forget:
            self._engine.forget()
        self._is_up = True

    # --- for its nodes --------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether nodes can connect."""
        return self._is_up

    @property
    def engine(self) -> MemoryEngine:
        """What it knows."""
        return self._engine

    @property
    def key(self) -> bytes:
        """The secret of all nodes."""
        return self._key

    def send(self, pushes: Sequence[Push]) -> list[int]:
        """Send to all nodes that subscribe. Return how many these are, for each push."""
        return [sum(node.push(push) for node in self._nodes) for push in pushes]


class MemoryBackplane:
    """A pond's access to a `MemoryHub`, and the faults of its link."""

    def __init__(self, hub: MemoryHub) -> None:
        self.lease_seconds = hub.engine.lease
        self.publish_seconds = 2.0
        self.queue_bytes = 16_777_216
        self.max_payload = hub.max_payload
        self.outage: Outage = hub.outage
        self._hub = hub
        self._topics: set[Topic] = set()
        self._pushes: deque[tuple[float, Push]] = deque()
        self._news = anyio.Event()
        self._link: anyio.CancelScope | None = None  # while it is up
        self._node = ""
        self._lease = ""
        self._is_cut = False
        self._is_silent = False
        self._loses_results = 0

    # --- faults ---------------------------------------------------------------------------------

    def cut(self, *, for_good: bool = False) -> None:
        """End the link. The node connects again at once, or, cut for good, after `mend`."""
        self._is_cut = self._is_cut or for_good
        if self._link is not None:
            self._link.cancel()

    def mend(self) -> None:
        """End what `cut` and `silence` have begun; the link begins anew."""
        self._is_cut = self._is_silent = False
        self.cut()

    def silence(self) -> None:
        """Lose what the engine sends to this node until `mend`, as a half-open connection does."""
        self._is_silent = True

    def lose_results(self, calls: int = 1) -> None:
        """Carry out the next calls of `apply`, and end the link before their results arrive."""
        self._loses_results = calls

    def expire_lease(self) -> None:
        """Let the lease end, as that of a process that was stopped for longer."""
        self._hub.engine.expire(self._lease)

    # --- as a Backplane -------------------------------------------------------------------------

    @property
    def key(self) -> bytes:
        """The secret of all nodes."""
        return self._hub.key

    async def run(self, listener: Listener, node: str) -> None:
        """Keep a link until cancelled; see `Backplane.run`.

        Raises:
            UsageError: Another pond runs it: each needs one of its own.
        """
        if self._node:
            raise UsageError("Each pond needs a backplane of its own: `hub.backplane()`.")
        self._node = node
        leases = count(1)
        try:
            while True:
                while self._is_cut or not self._hub.is_up:  # noqa: ASYNC110 - as clients retry
                    await anyio.sleep(_RETRY_SECONDS)
                with anyio.CancelScope() as link:
                    self._link = link
                    await self._serve(listener, leases)
                self._link = None
                listener.down("the link was cut")
                await anyio.lowlevel.checkpoint()
        finally:
            self._link = None
            self._node = self._lease = ""

    async def _serve(self, listener: Listener, leases: "count[int]") -> None:
        self._pushes.clear()
        self._beat(listener, leases)
        listener.up()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, listener)
            while True:
                await anyio.sleep(_BEAT_SECONDS)
                self._beat(listener, leases)

    def _beat(self, listener: Listener, leases: "count[int]") -> None:
        engine, now = self._hub.engine, anyio.current_time()
        engine.hear(now)
        if not engine.renew(self._lease, now):
            self._lease = f"{self._node}.{next(leases)}"
            engine.grant(self._lease, now)
            listener.lease_lost(self._lease)
        for lease in engine.dead(now):
            if next(engine.held_by(lease), None) is None:
                engine.end(lease)
            else:
                listener.dead(lease)

    async def _deliver(self, listener: Listener) -> None:
        while True:
            while self._pushes:
                due, push = self._pushes[0]
                if due > anyio.current_time():
                    await anyio.sleep_until(due)
                self._pushes.popleft()
                match push:
                    case Emitted(topic, data):
                        listener.emitted(topic, data)
                    case Appended(topic, epoch, prev, entry):
                        listener.appended(topic, epoch, prev, entry)
                    case _:
                        listener.shown(*push)
            self._news = anyio.Event()
            await self._news.wait()

    def push(self, push: Push) -> bool:
        """Send something to the node, if it subscribes. Return whether it does."""
        if self._link is None or push.topic not in self._topics:
            return False
        if not self._is_silent:
            self._pushes.append((anyio.current_time() + self._hub.delay, push))
            self._news.set()
        return True

    async def leave(self) -> None:
        """Give the lease up; see `Backplane.leave`."""
        await self._reach()
        engine = self._hub.engine
        if next(engine.held_by(self._lease), None) is None:
            engine.end(self._lease)
        else:
            engine.expire(self._lease)

    async def apply(self, seq: int, ops: Sequence[Op]) -> list[Result]:
        """Carry out operations; see `Backplane.apply`."""
        await self._reach()
        now = anyio.current_time()
        results, pushes = self._hub.engine.apply(self._node, self._lease, seq, ops, now)
        sent = zip(pushes, self._hub.send(pushes), strict=True)
        counts = (count for push, count in sent if isinstance(push, Emitted))
        if pushes:  # none: these operations were carried out before
            places = [place for place, op in enumerate(ops) if isinstance(op, Emit)]
            for place, receivers in zip(places, counts, strict=True):
                results[place] = receivers
        if self._loses_results:
            self._loses_results -= 1
            self.cut()
            raise LinkLost("The link was cut.")
        return results

    async def subscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics."""
        await self._reach()
        self._topics.update(topics)

    async def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics no more."""
        self._topics.difference_update(topics)
        await self._reach()

    async def read(self, topic: Topic, since: Position | None, keep: Keep, latest: int) -> Slice:
        """Return the messages after a position, or at least the `latest` last ones."""
        await self._reach()
        found = self._hub.engine.read(topic, keep, anyio.current_time())
        if since is None or since.epoch != found.epoch or since.offset < found.begins_after:
            return found
        wanted = max(found.top - since.offset, latest, 0)
        return found._replace(entries=found.entries[len(found.entries) - wanted :])

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what."""
        await self._reach()
        return self._hub.engine.roster(topic, anyio.current_time())

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users hold memberships; of one user, how many memberships."""
        await self._reach()
        return self._hub.engine.count(topic, user)

    async def held_by(self, lease: str, limit: int) -> Sequence[tuple[Topic, str]]:
        """Return up to `limit` memberships that were put under a lease."""
        await self._reach()
        return [*islice(self._hub.engine.held_by(lease), limit)]

    async def _reach(self) -> None:
        if self._link is None:
            raise BackplaneUnavailable
        await anyio.sleep(self._hub.delay)
        if self._link is None:
            raise BackplaneUnavailable
