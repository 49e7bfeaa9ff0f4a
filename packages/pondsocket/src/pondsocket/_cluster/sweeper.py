"""Ends the memberships of nodes that have died. Every living node tries; the engine takes one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

from pondsocket._runtime.tasks import Work
from pondsocket.backplane import Backplane, BackplaneUnavailable, Drop, Result, Topic

from .batches import Batches
from .command_queue import Actions

_AT_ONCE: Final = 512


class Sweeper:
    """Ends what was put under leases that have ended.

    Args:
        start: Runs work in a task of its own.
    """

    def __init__(
        self,
        backplane: Backplane,
        batches: Batches,
        actions: Actions,
        start: Callable[[Work], None],
    ) -> None:
        self._backplane = backplane
        self._batches = batches
        self._actions = actions
        self._start = start
        self._sweeping: set[str] = set()

    def sweep(self, lease: str) -> None:
        """Begin to end what is held under a lease, unless that is under way."""
        if lease not in self._sweeping:
            self._sweeping.add(lease)
            self._start(lambda: self._sweep(lease))

    async def _sweep(self, lease: str) -> None:
        try:
            while held := await self._backplane.held_by(lease, _AT_ONCE):
                refs: defaultdict[Topic, list[str]] = defaultdict(list)
                for topic, ref in held:
                    refs[topic].append(ref)
                for topic, dropped in refs.items():
                    self._drop(Drop(topic, tuple(dropped), lease))
                await self._batches.settle(seconds=self._backplane.publish_seconds)
        except BackplaneUnavailable:
            return  # another node does it, or this one at the next beat
        finally:
            self._sweeping.discard(lease)

    def _drop(self, drop: Drop) -> None:
        def end(result: Result | Exception) -> None:
            for user in result if isinstance(result, tuple) else ():
                work = self._actions.swept(drop.topic, str(user))
                if work is not None:
                    self._start(work)

        self._batches.add(drop, end)
