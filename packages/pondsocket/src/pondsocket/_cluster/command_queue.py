"""The commands of other nodes, carried out in their order, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import anyio

from pondsocket._log import get_log
from pondsocket._replica.ordering import Ordering
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket.backplane import Append, Backplane, BackplaneUnavailable, Entry, Result, Topic

from .batches import Batches
from .commands import COMMAND_TOPICS, COMMANDS, KEPT, Command, decode, encode, topic_of

_log: Final = get_log("pondsocket.cluster")


class Actions(Protocol):
    """What the pond does for other nodes."""

    async def execute(self, command: Command, older_than: float | None) -> None:
        """Carry out a command.

        Args:
            older_than: Only for connections that were open at this time, by the pond's clock; None:
                for all.
        """
        ...

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer a question."""
        ...

    def describe(self) -> bytes:
        """Return what publishers must know of the application."""
        ...

    def swept(self, topic: Topic, user: str) -> Work | None:
        """Return what is to be done after a user's last membership has ended with its node."""
        ...

    def now(self) -> float:
        """Return the time, by the pond's clock."""
        ...


class Host(Protocol):
    """The node, as far as its commands use it."""

    name: str
    backplane: Backplane
    batches: Batches

    def check_running(self) -> None:
        """Refuse what no task would ever send; see `Node.check_running`."""
        ...

    def start(self, work: Work) -> None:
        """Run work in a task of the node's own."""
        ...


class CommandQueue:
    """The commands that are still to be carried out here.

    A node that was cut off carries them out on its return: to connections that were open before,
    because one that came later was admitted by an application that knew of the command.
    """

    def __init__(self, node: Host, actions: Actions) -> None:
        self._node = node
        self.actions = actions
        self._orderings = {topic: Ordering() for topic in COMMAND_TOPICS}
        self._queue: deque[tuple[bytes, float | None]] = deque()
        self._work: anyio.Event | None = None
        self._down_at: float | None = None
        self._reading: anyio.Event | None = None

    def suspect(self) -> None:
        """Note that commands may be missing, because a link has begun."""
        for ordering in self._orderings.values():
            ordering.suspect()

    def note_down(self) -> None:
        """Note that the link has ended."""
        if self._down_at is None:
            self._down_at = self.actions.now()

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        """Take a command."""
        ordering = self._orderings[topic]
        if ordering.take(epoch, prev, entry.offset, entry):
            self._add(entry.data, None)
        elif ordering.is_behind and self._reading is None:
            self._node.start(self._read)

    async def _read(self) -> None:
        try:
            await self.read()
        except BackplaneUnavailable:
            return  # the next link begins with it

    async def read(self) -> None:
        """Read what is missing, until nothing is.

        Raises:
            BackplaneUnavailable: The engine cannot be reached.
        """
        # One that was read already may be behind again.
        while behind := [topic for topic, each in self._orderings.items() if each.is_behind]:
            if self._reading is not None:
                await self._reading.wait()  # it may fail, for instance with an older link
                continue
            self._reading = anyio.Event()
            try:
                await self._fill(behind[0])
            finally:
                self._reading.set()
                self._reading = None
        if self._reading is None:
            self._down_at = None

    async def _fill(self, topic: Topic) -> None:
        ordering = self._orderings[topic]
        ordering.begin_read()
        known = ordering.position
        found = await self._node.backplane.read(topic, known, KEPT, 0 if known else 1)
        filled = ordering.fill(found)
        if filled.anew is not None:
            _log.error(
                "This server was cut off for so long, or the engine has lost so much, that it has"
                " not heard of all %s of the other servers: what is still kept is carried out.",
                "commands to close connections and end memberships"
                if topic == COMMANDS
                else "events that were pushed to connections",
            )
        for _, entry in filled.entries:
            self._add(entry.data, self._down_at)

    def _add(self, data: bytes, older_than: float | None) -> None:
        self._queue.append((data, older_than))
        if self._work is not None:
            self._work.set()

    async def tell(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do. It returns when the engine has it.

        Raises:
            BackplaneUnavailable: They are not told.
            PublishUncertain: It is not known whether they are.
        """
        done = anyio.Event()
        failure: Exception | None = None

        def end(result: Result | Exception) -> None:
            nonlocal failure
            failure = result if isinstance(result, Exception) else None
            done.set()

        self._append(do, arguments, end)
        await done.wait()
        if failure is not None:
            raise failure

    def tell_nowait(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do. That it failed is logged."""

        def end(result: Result | Exception) -> None:
            if isinstance(result, Exception):
                _log.error("The other servers were not told of a command (%s): %s", do, result)

        try:
            self._append(do, arguments, end)
        except BackplaneUnavailable as error:
            end(error)

    def _append(
        self, do: str, arguments: dict[str, object], end: Callable[[Result | Exception], None]
    ) -> None:
        node = self._node
        node.check_running()
        op = Append(topic_of(do), encode(node.name, do, arguments), KEPT)
        node.batches.add(op, end, seconds=node.backplane.publish_seconds)

    async def run(self) -> None:
        """Carry out what comes, until cancelled."""
        try:
            while True:
                self._work = anyio.Event()
                while self._queue:
                    await self._execute(*self._queue.popleft())
                await self._work.wait()
        finally:
            # The connections here have ended. A node that runs again has new ones.
            self._orderings = {topic: Ordering() for topic in COMMAND_TOPICS}
            self._down_at = None
            self._queue.clear()

    async def _execute(self, data: bytes, older_than: float | None) -> None:
        command = decode(data)
        if command is None:
            _log.error("A command of another version was left out.")
        elif command.get("from") != self._node.name:
            try:
                await self.actions.execute(command, older_than)
            except BaseException as error:  # noqa: BLE001 - boundary: one command
                _log.error("A command failed (%s).", command.get("do"), exc_info=failure_of(error))
