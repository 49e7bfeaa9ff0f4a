"""The cost of a rate limit that is never reached: a difference too small for a server run.

In memory, in this process: a member sends an event, and the handler does nothing.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pondsocket import Options
from pondsocket_common import ClientActions

from tests.benchmarks._contenders import Contender
from tests.benchmarks._figures import Sample
from tests.benchmarks._memory import in_app, text_of
from tests.benchmarks._meter import MICROSECONDS
from tests.benchmarks._scenarios.scenario import Play, Scenario

_MESSAGES: Final = 4_000
# Far above what one member can send here.
_ON: Final = Options(
    event_rate=10_000_000, event_burst=10_000_000,
    control_rate=10_000_000, control_burst=10_000_000,
)  # fmt: skip


def rate_limit(messages: int = _MESSAGES) -> Scenario:
    """Make the scenario that sends the same messages with the limit off and on."""
    text = text_of(ClientActions.BROADCAST, "nothing")

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        options = _ON if contender.key == "ours-limited" else None
        async with in_app(1, options) as room:
            speaker = room.peers[0]

            async def play() -> Sample:
                started = time.process_time()
                await speaker.say(*[text] * messages)
                return Sample(value=(time.process_time() - started) / messages * MICROSECONDS)

            await play()
            yield play

    return Scenario(
        key="rate-limit",
        title="The cost of a rate limit that is not reached",
        unit="us per message",
        contenders=("ours", "ours-limited"),
        enter=enter,
        seconds=0.2,
        ready_seconds=0.2,
        kind="difference",
        conditions="In memory, without a server: a member sends, and the handler does nothing.",
    )
