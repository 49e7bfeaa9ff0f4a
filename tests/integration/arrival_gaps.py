"""How evenly a stream of numbered broadcasts arrives at many clients at once.

A machine that has other things to do delays every client, and that says nothing of the server. So
the time for which the server's and this process's main thread stood in the scheduler's queue, ready
to run, is taken off each gap. What remains was spent waiting or working.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.integration.clients import Message
from tests.integration.raw_clients import RawClient


@dataclass
class Hearer:
    """What one client has heard."""

    heard: int = 0
    last_at: float = 0.0
    last_queued: float = 0.0
    worst: float = 0.0


class Gaps:
    """Listens to clients for broadcasts that carry `n` = 1, 2, 3 and so on.

    Args:
        clients: The ones that are to hear everything.
        pid: The server's process.
    """

    def __init__(self, clients: list[RawClient], pid: int) -> None:
        self._schedules = [Path(f"/proc/{process}/schedstat") for process in (os.getpid(), pid)]
        self._hearers = [Hearer() for _ in clients]
        self._heard = 0
        for client, hearer in zip(clients, self._hearers, strict=True):
            client.on_message = partial(self._hear, hearer)

    @property
    def heard_by_all(self) -> int:
        """How many broadcasts have reached every client."""
        return min(hearer.heard for hearer in self._hearers)

    @property
    def worst(self) -> float:
        """The longest time, in seconds, that a client waited from one broadcast to the next."""
        return max(hearer.worst for hearer in self._hearers)

    def _hear(self, hearer: Hearer, message: Message, now: float) -> None:
        if message["event"] != "said":
            return
        number = message["payload"]["n"]
        assert number == hearer.heard + 1, f"{number} came after {hearer.heard}"
        queued = self._queued()
        if hearer.heard:
            gap = now - hearer.last_at - (queued - hearer.last_queued)
            hearer.worst = max(hearer.worst, gap)
        hearer.heard, hearer.last_at, hearer.last_queued = number, now, queued

    def _queued(self) -> float:
        total = 0
        for schedule in self._schedules:
            # Linux, Documentation/scheduler/sched-stats.rst: nanoseconds on the processor, then
            # nanoseconds in its queue.
            total += int(schedule.read_text().split()[1])
        return total / 1e9
