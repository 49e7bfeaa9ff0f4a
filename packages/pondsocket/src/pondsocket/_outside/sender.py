"""The link of a publisher: it writes, and reads what the application has. It hears nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
from pondsocket_common import Position, fresh_epoch

from pondsocket._cluster.batches import Batches
from pondsocket._errors import UsageError
from pondsocket._replica.application import Application
from pondsocket.backplane import (
    Backplane,
    BackplaneUnavailable,
    Change,
    Entry,
    Op,
    Result,
    Topic,
)

# Several times within the seconds that a broadcast may wait.
_TICK_SECONDS: Final = 0.25


class Sender:
    """Writes to the engine, as a node does, but holds nothing. It is a `Listener`.

    All of it runs in one event loop.

    Attributes:
        name: No node and no other publisher has it.
        application: What the servers have said of it; None: it was not asked yet.
    """

    def __init__(self, backplane: Backplane) -> None:
        self.name = fresh_epoch()[:6]
        self._backplane = backplane
        self._batches = Batches(backplane, max_bytes=backplane.queue_bytes)
        self._link = anyio.Event()
        self._failure: Exception | None = None
        self.application: Application | None = None

    async def run(self) -> None:
        """Keep the link, until cancelled. A failure is kept for the next call."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._batches.run)
            tasks.start_soon(self._tick)
            try:
                await self._backplane.run(self, self.name, holds=False)
            except Exception as error:  # noqa: BLE001 - boundary: it is raised by every call
                self._failure = error
                self._link.set()

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self._batches.expire()

    async def send(self, op: Op) -> None:
        """Let the engine carry out an operation.

        Raises:
            BackplaneUnavailable: It was not carried out.
            PublishUncertain: It is not known whether it was.
        """
        await self._wait_link()
        done = anyio.Event()
        failure: Exception | None = None

        def end(result: Result | Exception) -> None:
            nonlocal failure
            failure = result if isinstance(result, Exception) else None
            done.set()

        self._batches.add(op, end, seconds=self._backplane.publish_seconds)
        await done.wait()
        if failure is not None:
            raise failure

    async def read_application(self) -> Application:
        """Ask the engine what the servers have said of the application.

        Raises:
            BackplaneUnavailable: The engine cannot be reached, or no server has started yet.
            UsageError: It is in a form of another version.
        """
        await self._wait_link()
        with anyio.move_on_after(self._backplane.publish_seconds):
            found = await self._backplane.described()
            if found is None:
                raise BackplaneUnavailable(
                    "No server has started on this engine yet (under this prefix), so it is not"
                    " known which channels there are."
                )
            self.application = Application.from_bytes(found)
            return self.application
        raise BackplaneUnavailable

    async def _wait_link(self) -> None:
        with anyio.move_on_after(self._backplane.publish_seconds):
            await self._link.wait()
        if self._failure is not None:
            raise UsageError(str(self._failure)) from self._failure
        if not self._link.is_set():
            raise BackplaneUnavailable("The engine cannot be reached.")

    # --- as a Listener --------------------------------------------------------------------------

    def up(self) -> None:
        """Note that a link has begun."""
        self._batches.resume()
        self._link.set()

    def down(self, reason: str) -> None:  # noqa: ARG002 - the backplane logs it
        """Note that the link has ended."""
        self._batches.pause()
        self._link = anyio.Event()

    def lease_lost(self, lease: str) -> None:
        """Do nothing: there is no lease."""

    def dead(self, lease: str) -> None:
        """Do nothing: a node does it."""

    def emitted(self, topic: Topic, data: bytes) -> None:
        """Do nothing: no topic is subscribed."""

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        """Do nothing: no topic is subscribed."""

    def shown(self, topic: Topic, at: Position, changes: Sequence[Change]) -> None:
        """Do nothing: no topic is subscribed."""
