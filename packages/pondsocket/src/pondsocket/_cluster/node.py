"""This node among others: its link, what it hears, and what it does for nodes that have died.

All of it runs in the tasks of `async with pond`. What the engine tells comes in one task, in order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from pondsocket_common import Position, fresh_epoch

from pondsocket._replica.envelope import unpack
from pondsocket._replica.holdings import Holdings
from pondsocket._replica.interest import Interest
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket.backplane import (
    SEPARATOR,
    Append,
    Backplane,
    BackplaneUnavailable,
    Change,
    Entry,
    Result,
    Topic,
)

from .batches import Batches
from .command_queue import Actions, CommandQueue
from .commands import COMMANDS, KEPT, encode
from .requests import EVERYONE, Requests, address_of
from .shared_topic import SharedTopic
from .sweeper import Sweeper

_log: Final = logging.getLogger("pondsocket.cluster")
# Several times within the seconds that a broadcast may wait.
_TICK_SECONDS: Final = 0.25
_READS_AT_ONCE: Final = 64
# For what a node that closes still has to tell: its leaves.
_CLOSE_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0


class Node:
    """This node among others. It is the `Listener` of its backplane.

    Attributes:
        name: No other node has it.
        lease: The name under which the engine knows what this node holds.
        is_ready: Whether there has been a link.
    """

    def __init__(self, backplane: Backplane) -> None:
        self.name = fresh_epoch()[:6]
        self.lease = ""
        self.is_ready = False
        self._first_link = anyio.Event()
        self.backplane = backplane
        self.holdings = Holdings()
        self.batches = Batches(backplane, max_bytes=backplane.queue_bytes)
        self._interest = Interest()
        self._topics: dict[Topic, SharedTopic] = {}
        self._tasks: TaskGroup | None = None
        self._ended: anyio.Event | None = None
        self._numbers = count(1)

    def serve(self, actions: Actions) -> None:
        """Set what the pond does for other nodes. To be called before `run`."""
        self.requests = Requests(self.name, self.batches, actions.answer, self.start)
        self._sweeper = Sweeper(self.backplane, self.batches, actions, self.start)
        self._commands = CommandQueue(self, actions)

    # --- its life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `close`.

        Raises:
            BackplaneError: The engine cannot be used as it is configured.
        """
        self._ended = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self.batches.run)
                tasks.start_soon(self._commands.run)
                tasks.start_soon(self._tick)
                await self.backplane.run(self, self.name)
        finally:
            self._tasks = None
            self.is_ready = False
            self._ended.set()

    async def wait_ready(self) -> None:
        """Wait for the first link, but not for long: the engine may be down."""
        with anyio.move_on_after(self.backplane.publish_seconds):
            await self._first_link.wait()

    async def close(self) -> None:
        """Tell the leaves, give the lease up, and end. To be called after the last connection."""
        if self._tasks is None or self._ended is None:
            return
        with anyio.move_on_after(_CLOSE_SECONDS):
            try:
                await self.batches.settle()
                await self.backplane.leave()
            except BackplaneUnavailable:
                _log.warning("The other servers are not told of this one's end: there is no link.")
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        await self._ended.wait()

    @property
    def is_running(self) -> bool:
        """Whether its tasks run."""
        return self._tasks is not None

    def start(self, work: Work) -> None:
        """Run work in a task of this node's own. Its failure is logged."""
        if self._tasks is not None:
            self._tasks.start_soon(_run_logged, work)

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self.batches.expire()
            now = anyio.current_time()
            idle = self._interest.take_idle(now)
            for topic in idle:
                self._topics.pop(topic).end()
            for shared in [each for each in self._topics.values() if each.is_in_doubt]:
                shared.tick(now)
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
        topic = shared.topic
        self._interest.enter(topic)
        self._topics[topic] = shared
        try:
            with anyio.fail_after(self.backplane.publish_seconds):
                if not self._interest.is_confirmed(topic):
                    await self.backplane.subscribe([topic])
                    self._interest.confirm(topic)
                await shared.read()
        except TimeoutError:
            raise BackplaneUnavailable from None
        finally:
            self._interest.leave(topic, anyio.current_time())

    def use(self, shared: SharedTopic) -> None:
        """Note that a channel has members here."""
        self._interest.enter(shared.topic)
        self._topics[shared.topic] = shared

    def release(self, shared: SharedTopic) -> None:
        """Note that a channel has no members here any more."""
        self._interest.leave(shared.topic, anyio.current_time())

    def read_later(self, shared: SharedTopic) -> None:
        """Read what a topic misses, in a task of its own."""
        if not shared.is_reading:
            self.start(lambda: self._read(shared))

    async def _read(self, shared: SharedTopic) -> None:
        try:
            await shared.read()
        except BackplaneUnavailable:
            return  # the next link begins with it

    # --- questions and commands -----------------------------------------------------------------

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users are in a topic; of one user, how many memberships."""
        await self.batches.settle()
        return await self.backplane.count(topic, user)

    async def assigns_elsewhere(self, topic: Topic) -> dict[str, dict[str, Any]]:
        """Return the assigns of a topic's users on all nodes.

        Raises:
            BackplaneUnavailable: Not all nodes answer.
        """
        question = {"do": "assigns", "topic": topic}
        answers = await self.requests.ask_all(question, seconds=_ANSWER_SECONDS)
        return {user: dict(assigns) for each in answers for user, assigns in each.items()}

    async def command(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do. It returns when the engine has it.

        Raises:
            BackplaneUnavailable: They are not told.
            PublishUncertain: It is not known whether they are.
        """
        data = encode(self.name, do, arguments)
        done = anyio.Event()
        failure: Exception | None = None

        def end(result: Result | Exception) -> None:
            nonlocal failure
            failure = result if isinstance(result, Exception) else None
            done.set()

        op = Append(COMMANDS, data, KEPT)
        self.batches.add(op, end, seconds=self.backplane.publish_seconds)
        await done.wait()
        if failure is not None:
            raise failure

    # --- as a Listener --------------------------------------------------------------------------

    def up(self) -> None:
        """Note that a link has begun."""
        for shared in self._topics.values():
            shared.suspect()
        self._commands.suspect()
        self.batches.resume()
        self.start(self._begin_link)

    async def _begin_link(self) -> None:
        topics = [COMMANDS, EVERYONE, address_of(self.name)]
        try:
            if not self.is_ready:
                await self.backplane.subscribe(topics)
                await self._commands.read()
                self.is_ready = True
                self._first_link.set()
            waiting = [*self._topics.values()]
            for start in range(0, len(waiting), _READS_AT_ONCE):
                async with anyio.create_task_group() as tasks:
                    for shared in waiting[start : start + _READS_AT_ONCE]:
                        tasks.start_soon(self._read, shared)
            await self._commands.read()
        except BackplaneUnavailable:
            return  # the next link begins with it

    def down(self, reason: str) -> None:
        """Note that the link has ended."""
        _log.warning("The link to the other servers has ended: %s.", reason)
        self.batches.pause()
        self._commands.note_down()

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
            else:
                shared.emitted(envelope)

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        """Take a kept message."""
        if topic == COMMANDS:
            self._commands.appended(epoch, prev, entry)
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
