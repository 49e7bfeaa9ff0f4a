"""This node among others: its link, what it hears, and what it does for nodes that have died.

All of it runs in the tasks of `async with pond`. What the engine tells comes in one task, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Final
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup
from pondsocket_common import Position, fresh_epoch

from pondsocket._errors import UsageError
from pondsocket._log import get_log
from pondsocket._replica.envelope import unpack
from pondsocket._replica.holdings import Holdings
from pondsocket._replica.interest import Interest
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket._state.request import Refusal
from pondsocket.backplane import (
    SEPARATOR,
    Backplane,
    BackplaneError,
    BackplaneUnavailable,
    Change,
    Entry,
    Topic,
)
from pondsocket.backplane._interface import check_backplane

from .batches import Batches
from .command_queue import Actions, CommandQueue
from .commands import COMMAND_TOPICS
from .requests import EVERYONE, Requests, address_of
from .shared_topic import SharedTopic
from .sweeper import Sweeper

_log: Final = get_log("pondsocket.cluster")
# Several times within the seconds that a broadcast may wait.
_TICK_SECONDS: Final = 0.25
_READS_AT_ONCE: Final = 64
# For what a node that closes still has to tell: its leaves.
_CLOSE_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0

# Those that a pond of this process runs.
_running: Final[WeakSet[Backplane]] = WeakSet()


class _Life:
    """One run of a node, from its begin to its end."""

    def __init__(self) -> None:
        self.started = anyio.Event()  # at the first link, or at the end
        self.ended = anyio.Event()
        self.failure: BackplaneError | None = None


class Node:
    """This node among others. It is the `Listener` of its backplane.

    Attributes:
        name: No other node has it.
        lease: The name under which the engine knows what this node holds.
    """

    def __init__(self, backplane: Backplane) -> None:
        check_backplane(backplane)
        self.name = fresh_epoch()[:6]
        self.lease = ""
        self.backplane = backplane
        self.holdings = Holdings()
        self.batches = Batches(backplane, max_bytes=backplane.queue_bytes)
        self._interest = Interest()
        self._topics: dict[Topic, SharedTopic] = {}
        self._tasks: TaskGroup | None = None
        self._life: _Life | None = None  # None before the first
        self._is_refusal_logged = False
        self._numbers = count(1)

    def serve(self, actions: Actions) -> None:
        """Set what the pond does for other nodes. To be called before `run`."""
        self.requests = Requests(self.name, self.batches, actions.answer, self.start)
        self._sweeper = Sweeper(self.backplane, self.batches, actions, self.start)
        self.commands = CommandQueue(self, actions)

    # --- its life -------------------------------------------------------------------------------

    def begin(self) -> Work:
        """Begin to run. Return what is to be run in a task, until `close`.

        Raises:
            UsageError: Another pond has the same backplane.
        """
        if self.backplane in _running:
            raise UsageError(
                "Each pond needs a backplane of its own: this one is in use by another pond."
            )
        _running.add(self.backplane)
        self._life = life = _Life()
        return lambda: self._run(life)

    async def _run(self, life: _Life) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self.batches.run)
                tasks.start_soon(self.commands.run)
                tasks.start_soon(self._expire)
                tasks.start_soon(self._tidy)
                try:
                    await self._run_backplane(life)
                    tasks.cancel_scope.cancel()
                finally:
                    self._tasks = None  # the group takes no more of them
        finally:
            # The connections here have ended. When it runs again, it is as a new node.
            for shared in self._topics.values():
                shared.end()
            self._topics, self._interest, self.holdings = {}, Interest(), Holdings()
            self.lease = ""
            _running.discard(self.backplane)
            life.started.set()
            life.ended.set()

    async def _run_backplane(self, life: _Life) -> None:
        try:
            await self.backplane.run(self, self.name)
        except BackplaneError as error:
            _log.error("This server has no part in the cluster: %s", error)
            life.failure = error
        except Exception as error:
            text = "This server has no part in the cluster any more, and refuses connections."
            _log.error(text, exc_info=failure_of(error))
            raise

    async def wait_ready(self) -> None:
        """Wait for the first link, but not for long: the engine may be down.

        Raises:
            BackplaneError: The engine cannot be used as it is configured.
        """
        if (life := self._life) is None:
            return
        with anyio.move_on_after(self.backplane.publish_seconds):
            await life.started.wait()
        if life.failure is not None:
            raise life.failure

    async def close(self) -> None:
        """Tell the leaves, give the lease up, and end. To be called after the last connection."""
        if self._tasks is None or self._life is None:
            return
        with anyio.move_on_after(_CLOSE_SECONDS):
            try:
                await self.batches.settle(seconds=_CLOSE_SECONDS)
                await self.backplane.leave()
            except BackplaneUnavailable:
                _log.warning("The other servers are not told of this one's end: there is no link.")
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        await self._life.ended.wait()

    @property
    def is_running(self) -> bool:
        """Whether its tasks run."""
        return self._tasks is not None

    @property
    def is_ready(self) -> bool:
        """Whether it runs, and there has been a link."""
        life = self._life
        return self._tasks is not None and life is not None and life.started.is_set()

    def refusal(self) -> Refusal:
        """Return the refusal of a connection before the first link."""
        if self._life is None and not self._is_refusal_logged:
            self._is_refusal_logged = True
            _log.error(
                "This pond has a backplane, which runs only inside of `async with pond`: pass"
                " `lifespan=pond.lifespan` to the application that it is mounted in, or serve"
                " `PondASGIApp(pond)` with the server's lifespan on. Until then all connections are"
                " refused."
            )
        text = "The other servers are not reached yet."
        return Refusal(503, "UNAVAILABLE", text, retry_after=1)

    def check_running(self) -> None:
        """Refuse what no task would ever send.

        Raises:
            UsageError: Its tasks have never run: this may be no server at all.
            BackplaneUnavailable: They have ended.
        """
        if self._life is None:
            raise UsageError(
                "A pond with a backplane runs in `async with pond`, or in the lifespan of its"
                " server, and this process has not entered it. What is no server, such as a Celery"
                " worker or a script, sends through a `Publisher` of pondsocket."
            )
        if self._tasks is None:
            raise BackplaneUnavailable("The pond is closed.")

    def start(self, work: Work) -> None:
        """Run work in a task of this node's own. Its failure is logged."""
        if self._tasks is not None:
            self._tasks.start_soon(_run_logged, work)

    async def _expire(self) -> None:
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self.batches.expire()
            now = anyio.current_time()
            for shared in [each for each in self._topics.values() if each.is_waiting]:
                shared.tick(now)

    async def _tidy(self) -> None:
        # In a task of its own: an engine that does not answer must not delay the others' limits.
        while True:
            await anyio.sleep(_TICK_SECONDS)
            idle = self._interest.take_idle(anyio.current_time())
            for topic in idle:
                self._topics.pop(topic).end()
            if idle:
                try:
                    await self.backplane.unsubscribe(idle)
                except BackplaneUnavailable:
                    continue  # the next link does not subscribe to them

    # --- for its topics -------------------------------------------------------------------------

    def next_number(self) -> int:
        """Return the number of the next broadcast of this node."""
        return next(self._numbers)

    def new_ref(self) -> str:
        """Return a name for a membership that no other one has, on any node."""
        return f"{self.name}{next(self._numbers):x}"

    def is_current(self, shared: SharedTopic) -> bool:
        """Return whether all that is told of a topic is known here."""
        topic = shared.topic
        is_its = self._topics.get(topic) is shared and self._interest.is_confirmed(topic)
        return is_its and shared.is_live

    async def prepare(self, shared: SharedTopic) -> None:
        """Hear of a topic, and read what it is at.

        Raises:
            BackplaneUnavailable: The engine cannot be reached.
        """
        if self._tasks is None:
            raise BackplaneUnavailable
        self.use(shared)
        try:
            if not self.batches.is_up:
                raise BackplaneUnavailable
            with anyio.fail_after(self.backplane.publish_seconds):
                await self._hear(shared)
                await shared.read()
        except (TimeoutError, BackplaneUnavailable):
            # Without a history it may go on within this node; the next link subscribes to it.
            if shared.keep is not None or self.backplane.outage == "refuse":
                raise BackplaneUnavailable from None
        finally:
            self.release(shared)
            if not shared.is_live:
                self.read_later(shared)  # members may wait for what this task was reading

    async def _hear(self, shared: SharedTopic) -> None:
        """Subscribe to a topic, unless that is done. Many that ask at once wait for the first."""
        topic = shared.topic
        while not self._interest.is_confirmed(topic):
            if shared.subscribing is not None:
                await shared.subscribing.wait()
                continue
            shared.subscribing = done = anyio.Event()
            try:
                await self.backplane.subscribe([topic])
                self._interest.confirm(topic)
                shared.suspect()  # what was read before may have missed some
            finally:
                shared.subscribing = None
                done.set()
            return

    def use(self, shared: SharedTopic) -> None:
        """Note that a channel has members here."""
        topic = shared.topic
        self._interest.enter(topic)
        if self._topics.get(topic) is not shared:
            self._topics[topic] = shared
            shared.suspect()  # it was not told what happened before

    def release(self, shared: SharedTopic) -> None:
        """Note that a channel has no members here any more."""
        if shared.topic in self._interest:  # else the node has ended meanwhile
            self._interest.leave(shared.topic, anyio.current_time())

    def read_later(self, shared: SharedTopic) -> None:
        """Read what a topic misses, in a task of its own."""
        if not shared.is_reading:
            self.start(lambda: self._read(shared))

    async def _read(self, shared: SharedTopic) -> None:
        try:
            await self._hear(shared)
            await shared.read()
        except BackplaneUnavailable:
            return  # the next link begins with it

    # --- questions and commands -----------------------------------------------------------------

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users are in a topic; of one user, how many memberships."""
        seconds = self.backplane.publish_seconds
        await self.batches.settle(seconds=seconds)
        try:
            with anyio.fail_after(seconds):
                return await self.backplane.count(topic, user)
        except TimeoutError:
            raise BackplaneUnavailable from None

    # --- as a Listener --------------------------------------------------------------------------

    def up(self) -> None:
        """Note that a link has begun."""
        for shared in self._topics.values():
            shared.suspect()
        self.commands.suspect()
        self.batches.resume()
        self.start(self._begin_link)

    async def _begin_link(self) -> None:
        topics = [*COMMAND_TOPICS, EVERYONE, address_of(self.name)]
        try:
            life = self._life
            if not self.is_ready:
                await self.backplane.subscribe(topics)
                await self.commands.read()
            await self.backplane.describe(self.commands.actions.describe())
            if life is not None:
                life.started.set()
            waiting = [*self._topics.values()]
            for start in range(0, len(waiting), _READS_AT_ONCE):
                async with anyio.create_task_group() as tasks:
                    for shared in waiting[start : start + _READS_AT_ONCE]:
                        tasks.start_soon(self._read, shared)
            await self.commands.read()
        except BackplaneUnavailable:
            return  # the next link begins with it

    def down(self, reason: str) -> None:
        """Note that the link has ended."""
        _log.warning("The link to the other servers has ended: %s.", reason)
        self.batches.pause()
        self.commands.note_down()

    def lease_lost(self, lease: str) -> None:
        """Put again what this node holds, under another lease."""
        if self.lease:
            _log.warning("This server was taken for dead; its members are announced again.")
        self.lease = lease
        for put in self.holdings:
            self.batches.add(put)

    def dead(self, lease: str) -> None:
        """End the memberships of a node that has died."""
        self._sweeper.sweep(lease)

    def emitted(self, topic: Topic, data: bytes) -> None:
        """Take a message that nothing keeps."""
        if topic.startswith(SEPARATOR):
            self.requests.take(data)
        elif (shared := self._topics.get(topic)) is not None:
            envelope = unpack(data)
            if envelope is None:
                _log.error("A message of another version was left out (topic=%r).", topic)
                return
            try:
                shared.emitted(envelope)
            except Exception as error:  # noqa: BLE001 - boundary: one message of the engine
                text = "A message could not be delivered (topic=%r)."
                _log.error(text, topic, exc_info=failure_of(error))

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        """Take a kept message."""
        if topic in COMMAND_TOPICS:
            self.commands.appended(topic, epoch, prev, entry)
        elif (shared := self._topics.get(topic)) is not None:
            shared.appended(epoch, prev, entry)

    def shown(self, topic: Topic, at: Position, changes: Sequence[Change]) -> None:
        """Take a change of a topic's presence."""
        if (shared := self._topics.get(topic)) is not None:
            shared.shown(at, changes)


async def _run_logged(work: Work) -> None:
    try:
        await work()
    except BaseException as error:  # noqa: BLE001 - boundary: one task of the node
        _log.error("A task of the node failed.", exc_info=failure_of(error))
