"""Event streams: one member sends, all streams receive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.benchmarks._client import Phrase
from tests.benchmarks._contenders import Contender
from tests.benchmarks._dialects import CHANNEL
from tests.benchmarks._figures import Sample
from tests.benchmarks._meter import MICROSECONDS, metered
from tests.benchmarks._scenarios.scenario import (
    ROUND_SECONDS,
    STEP_SECONDS,
    Play,
    Scenario,
    repeats_for,
)
from tests.benchmarks._streams import audience_of, tell, times_in


def streams_of(
    streams: int, contenders: tuple[str, ...], seconds: float = ROUND_SECONDS
) -> Scenario:
    """Make the scenario in which a WebSocket member broadcasts to `streams` streams."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        dialect = contender.dialect
        phrase = Phrase(dialect.say)
        with contender.server() as process:
            async with audience_of(process.port, dialect, streams, CHANNEL) as audience:
                async with asyncio.timeout(STEP_SECONDS):
                    times = await times_in(audience, phrase.fresh)
                    repeats = await repeats_for(
                        lambda count: tell(audience, phrase.fresh, count, times), seconds
                    )

                async def play() -> Sample:
                    return await metered(
                        process.pid,
                        lambda: tell(audience, phrase.fresh, repeats, times),
                        MICROSECONDS,
                    )

                yield play

    return Scenario(
        key="sse",
        title=f"Fan-out to {streams:,} event streams",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=streams + 1,
        seconds=seconds * 1.1,
        ready_seconds=2 + streams / 200,
        conditions="A WebSocket member broadcasts; payloads of 100 bytes.",
    )
