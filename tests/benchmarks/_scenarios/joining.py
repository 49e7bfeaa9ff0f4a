"""The cost of connecting and joining, and the memory of a member."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.benchmarks._client import Crowd
from tests.benchmarks._contenders import Contender
from tests.benchmarks._dialects import CHANNEL
from tests.benchmarks._figures import Sample
from tests.benchmarks._meter import MILLISECONDS, group_kib, metered
from tests.benchmarks._scenarios.scenario import STEP_SECONDS, Play, Scenario

# The first connections pay for what the server makes once.
_FIRST: Final = 300
# A server that loses hundreds of connections at once is busy for a moment.
_QUIET_SECONDS: Final = 0.3


async def come_in(contender: Contender, crowd: Crowd, port: int, clients: int) -> int:
    """Connect and join, 50 clients at a time."""
    async with asyncio.timeout(STEP_SECONDS):
        await crowd.connect(port, contender.dialect, clients, CHANNEL)
    return clients


async def leave(crowd: Crowd) -> None:
    """Close all connections, and give the server time to notice."""
    crowd.close()
    await asyncio.sleep(_QUIET_SECONDS)


def join_of(clients: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of new connections in each round, closed at its end."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        with contender.server() as process:

            async def play() -> Sample:
                crowd = Crowd()
                try:
                    return await metered(
                        process.pid,
                        lambda: come_in(contender, crowd, process.port, clients),
                        MILLISECONDS,
                    )
                finally:
                    await leave(crowd)

            await play()
            yield play

    return Scenario(
        key="join",
        title="Connect and join",
        unit="ms per client",
        contenders=contenders,
        enter=enter,
        seconds=clients / 450 + _QUIET_SECONDS,
        ready_seconds=3 + clients / 450,
        conditions=f"{clients} new connections a round, 50 at a time; each joins one channel.",
    )


def idle(members: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of the memory of idle members; each round has a new server."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async def play() -> Sample:
            with contender.server() as process:
                first, crowd = Crowd(), Crowd()
                try:
                    await come_in(contender, first, process.port, _FIRST)
                    await asyncio.sleep(_QUIET_SECONDS)
                    before = group_kib(process.pid)
                    await come_in(contender, crowd, process.port, members)
                    await asyncio.sleep(_QUIET_SECONDS)
                    after = group_kib(process.pid)
                finally:
                    first.close()
                    crowd.close()
            return Sample(value=(after - before) / members)

        yield play

    return Scenario(
        key="idle",
        title="Memory of an idle member",
        unit="KiB per member",
        contenders=contenders,
        enter=enter,
        seconds=4 + members / 450,
        ready_seconds=0,
        most_rounds=1,
        conditions=(
            f"Resident memory of the server's processes with {members:,} members of one channel,"
            f" minus the memory before, with {_FIRST} other members."
        ),
    )
