"""The cost of connecting and joining, and the memory of a member."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from tests.benchmarks._browser import COUNT, HEADERS
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
_BROWSERS: Final = (
    " The clients send what a browser sends besides:"
    f" {COUNT} headers with {len(HEADERS)} bytes, among them `Origin`, cookies, and the offer to"
    " compress messages. *Deflate* says whether the server accepts that; if so, each message to and"
    " from these clients is compressed."
)


async def come_in(
    contender: Contender, crowd: Crowd, port: int, clients: int, headers: bytes = b""
) -> int:
    """Connect and join, 50 clients at a time."""
    async with asyncio.timeout(2 * STEP_SECONDS):
        await crowd.connect(port, contender.dialect, clients, CHANNEL, headers)
    return clients


def deflating(crowd: Crowd) -> dict[str, float]:
    """Return whether the server compresses what browsers get, as one of a sample's extras."""
    return {"deflate": float(any(client.deflate is not None for client in crowd.clients))}


async def leave(crowd: Crowd) -> None:
    """Close all connections, and give the server time to notice."""
    crowd.close()
    await asyncio.sleep(_QUIET_SECONDS)


def join_of(clients: int, contenders: tuple[str, ...], *, browsers: bool = False) -> Scenario:
    """Make the scenario of new connections in each round, closed at its end."""
    headers = HEADERS if browsers else b""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        with contender.server() as process:

            async def play() -> Sample:
                crowd = Crowd()
                try:
                    sample = await metered(
                        process.pid,
                        lambda: come_in(contender, crowd, process.port, clients, headers),
                        MILLISECONDS,
                    )
                    return replace(sample, extras=deflating(crowd) if browsers else {})
                finally:
                    await leave(crowd)

            await play()
            yield play

    return Scenario(
        key="join-browser" if browsers else "join",
        title="Connect and join, as browsers do" if browsers else "Connect and join",
        unit="ms per client",
        contenders=contenders,
        enter=enter,
        seconds=clients / 450 + _QUIET_SECONDS,
        ready_seconds=3 + clients / 450,
        conditions=(
            f"{clients} new connections a round, 50 at a time; each joins one channel."
            f"{browsers * _BROWSERS}"
        ),
    )


def idle(members: int, contenders: tuple[str, ...], *, browsers: bool = False) -> Scenario:
    """Make the scenario of the memory of idle members; each round has a new server."""
    headers = HEADERS if browsers else b""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async def play() -> Sample:
            with contender.server() as process:
                first, crowd = Crowd(), Crowd()
                try:
                    await come_in(contender, first, process.port, _FIRST, headers)
                    await asyncio.sleep(_QUIET_SECONDS)
                    before = group_kib(process.pid)
                    await come_in(contender, crowd, process.port, members, headers)
                    await asyncio.sleep(_QUIET_SECONDS)
                    after = group_kib(process.pid)
                    extras = deflating(crowd) if browsers else {}
                finally:
                    first.close()
                    crowd.close()
            return Sample(value=(after - before) / members, extras=extras)

        yield play

    return Scenario(
        key="idle-browser" if browsers else "idle",
        title="Memory of an idle member" + browsers * ", a browser",
        unit="KiB per member",
        contenders=contenders,
        enter=enter,
        seconds=4 + members / 450,
        ready_seconds=0,
        most_rounds=1,
        conditions=(
            f"Resident memory of the server's processes with {members:,} members of one channel,"
            f" minus the memory before, with {_FIRST} other members."
            f"{browsers * _BROWSERS}"
        ),
    )
