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
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

import anyio
from pondsocket_common import Position

from pondsocket._errors import UsageError
from pondsocket._runtime.loop import running_asyncio

from ._errors import BackplaneUnavailable, LinkLost, PublishUncertain
from ._interface import Emit, Keep, Listener, Op, Outage, Result, Roster, Slice, Topic
from ._memory_engine import Appended, Emitted, MemoryEngine, Push

__all__ = ["MemoryBackplane", "MemoryHub"]

_RETRY_SECONDS: Final = 0.05
_BEAT_SECONDS: Final = 1.0


class MemoryHub:
    """An engine in this process. Its ponds must run in one event loop; publishers have others.

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
        # A publisher writes in a thread of its own.
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.clock: Callable[[], float] = time.monotonic  # of the loop of its ponds
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
        with self.lock:
            return [sum(node.push(push) for node in self._nodes) for push in pushes]


class _Home:
    """The event loop in which a node runs, as other threads call into it.

    Attributes:
        clock: The loop's time, which other threads may read, too.
    """

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.monotonic
        self._thread = 0
        self._soon: Callable[[Callable[[], object]], object] = _call

    def enter(self) -> None:
        """Make it the running one."""
        native: Any = anyio.lowlevel.current_token().native_token
        if running_asyncio() is not None:
            self._soon, self.clock = native.call_soon_threadsafe, native.time
        else:
            trio: Any = sys.modules["trio"]
            self._soon = native.run_sync_soon
            self.clock = trio.lowlevel.current_clock().current_time
        self._thread = threading.get_ident()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in it: at once if this is its thread, else soon."""
        if threading.get_ident() == self._thread:
            function()
            return
        try:
            self._soon(function)
        except RuntimeError:
            return  # the loop has ended, and the node with it


def _call(function: Callable[[], object]) -> None:
    function()


@dataclass
class _Faults:
    """What is wrong with a link."""

    is_cut: bool = False
    is_silent: bool = False
    lost_results: int = 0  # how many of the next ones are lost


class MemoryBackplane:
    """A pond's access to a `MemoryHub`, and the faults of its link."""

    def __init__(self, hub: MemoryHub) -> None:
        self.lease_seconds: float = hub.engine.lease
        self.publish_seconds: float = 2.0
        self.queue_bytes: int = 16_777_216
        self.max_payload: int = hub.max_payload
        self.outage: Outage = hub.outage
        self._hub = hub
        self._topics: set[Topic] = set()
        self._pushes: deque[tuple[float, Push]] = deque()
        self._news = anyio.Event()
        self._link: anyio.CancelScope | None = None  # while it is up
        self._node = ""
        self._lease = ""
        self._faults = _Faults()
        self._home = _Home()
        self._holds = True

    # --- faults ---------------------------------------------------------------------------------

    def cut(self, *, for_good: bool = False) -> None:
        """End the link. The node connects again at once, or, cut for good, after `mend`."""
        self._faults.is_cut = self._faults.is_cut or for_good
        self._home.call(self._cut)

    def _cut(self) -> None:
        if self._link is not None:
            self._link.cancel()

    def mend(self) -> None:
        """End what `cut` and `silence` have begun; the link begins anew."""
        self._faults.is_cut = self._faults.is_silent = False
        self.cut()

    def silence(self) -> None:
        """Lose what the engine sends to this node until `mend`, as a half-open connection does."""
        self._faults.is_silent = True

    def lose_results(self, calls: int = 1) -> None:
        """Carry out the next calls of `apply`, and end the link before their results arrive."""
        self._faults.lost_results = calls

    def expire_lease(self) -> None:
        """Let the lease end, as that of a process that was stopped for longer."""
        self._hub.engine.expire(self._lease)

    # --- as a Backplane -------------------------------------------------------------------------

    @property
    def doubt_seconds(self) -> float:
        """How long a living node may take to return; see `Backplane`."""
        return self.lease_seconds

    @property
    def key(self) -> bytes:
        """The secret of all nodes."""
        return self._hub.key

    async def run(self, listener: Listener, node: str, *, holds: bool = True) -> None:
        """Keep a link until cancelled; see `Backplane.run`.

        Raises:
            UsageError: Another pond runs it: each needs one of its own.
        """
        if self._node:
            raise UsageError("Each pond needs a backplane of its own: `hub.backplane()`.")
        self._node = node
        self._holds = holds
        self._home.enter()
        if holds:
            self._hub.clock = self._home.clock
        leases = count(1)
        try:
            while True:
                while self._faults.is_cut or not self._hub.is_up:  # noqa: ASYNC110 - as clients retry
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
        self._news = anyio.Event()  # of this loop
        self._beat(listener, leases)
        listener.up()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, listener)
            while True:
                await anyio.sleep(_BEAT_SECONDS)
                self._beat(listener, leases)

    def _beat(self, listener: Listener, leases: "count[int]") -> None:
        if not self._holds:
            return
        engine, now = self._hub.engine, self._hub.clock()
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
        if not self._faults.is_silent:
            self._pushes.append((self._home.clock() + self._hub.delay, push))
            self._home.call(self._tell)
        return True

    def _tell(self) -> None:
        self._news.set()

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
        hub, now = self._hub, self._hub.clock()
        with hub.lock:
            results, pushes = hub.engine.apply(self._node, self._lease, seq, ops, now)
            sent = zip(pushes, hub.send(pushes), strict=True)
        counts = (count for push, count in sent if isinstance(push, Emitted))
        if pushes:  # none: these operations were carried out before
            places = [place for place, op in enumerate(ops) if isinstance(op, Emit)]
            for place, receivers in zip(places, counts, strict=True):
                results[place] = receivers
        if self._faults.lost_results:
            self._faults.lost_results -= 1
            self.cut()
            if all(isinstance(op, Emit) for op in ops):
                raise PublishUncertain
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
        with self._hub.lock:
            found = self._hub.engine.read(topic, keep, self._hub.clock())
        if since is None or since.epoch != found.epoch or since.offset < found.begins_after:
            return found
        wanted = max(found.top - since.offset, latest, 0)
        return found._replace(entries=found.entries[len(found.entries) - wanted :])

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what."""
        await self._reach()
        with self._hub.lock:
            return self._hub.engine.roster(topic, self._hub.clock())

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users hold memberships; of one user, how many memberships."""
        await self._reach()
        return self._hub.engine.count(topic, user)

    async def held_by(self, lease: str, limit: int) -> Sequence[tuple[Topic, str]]:
        """Return up to `limit` memberships that were put under a lease."""
        await self._reach()
        return [*islice(self._hub.engine.held_by(lease), limit)]

    async def describe(self, application: bytes) -> None:
        """Keep what this node's application has, for publishers."""
        await self._reach()
        self._hub.engine.application = application

    async def described(self) -> bytes | None:
        """Return the latest description; None: no node has written one."""
        await self._reach()
        return self._hub.engine.application

    async def _reach(self) -> None:
        if self._link is None:
            raise BackplaneUnavailable
        await anyio.sleep(self._hub.delay)
        if self._link is None:
            raise BackplaneUnavailable
