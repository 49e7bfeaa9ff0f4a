"""How long a server's event loop stands still with 20,000 idle members.

The app runs in `apps.stops`, which has a clock on the loop. What a loop without members shows is
the machine's own, and is subtracted.
"""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self

from tests.benchmarks._client import BenchmarkFailed, Crowd
from tests.benchmarks._contenders import Contender, watched
from tests.benchmarks._figures import Sample
from tests.benchmarks._scenarios.joining import come_in
from tests.benchmarks._scenarios.scenario import Play, Scenario, most_members

MEMBERS: Final = 20_000
# PondSocket looks at all its connections once a second.
_TICK_SECONDS: Final = 1.25
_SECONDS: Final = 5
_COLLECTIONS: Final = 3
# For the connections of a drain to end, which takes ten seconds.
_DRAIN_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0


async def ask(port: int, word: str) -> dict[str, float] | None:
    """Ask the clock; see `apps.stops`. None if the app cannot do that.

    Raises:
        BenchmarkFailed: It answers something else.
    """
    async with asyncio.timeout(_REQUEST_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /stops/{word} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    if head.startswith(b"HTTP/1.1 404 "):
        return None
    # The body may come in chunks.
    start, end = body.find(b"{"), body.rfind(b"}") + 1
    if not head.startswith(b"HTTP/1.1 200 ") or start < 0:
        raise BenchmarkFailed(f"the clock has answered {head!r}")
    found: dict[str, float] = json.loads(body[start:end])
    return found


class Stop(NamedTuple):
    """A stop of the loop, in milliseconds: by the clock, and the CPU time of the loop's thread."""

    clock: float
    cpu: float

    @classmethod
    def usual(cls, stops: Sequence[Self]) -> Self:
        """Return the median of each."""
        return cls(*(statistics.median(values) for values in zip(*stops, strict=True)))

    @classmethod
    def longest(cls, stops: Sequence[Self]) -> Self:
        """Return the longest of each."""
        return cls(*(max(values) for values in zip(*stops, strict=True)))

    def without(self, other: "Stop") -> "Stop":
        """Return what this is above another."""
        return Stop(max(0.0, self.clock - other.clock), max(0.0, self.cpu - other.cpu))


async def read(port: int, word: str = "read") -> Stop:
    """Return the longest stop since the last request."""
    found = await ask(port, word)
    if found is None:
        raise BenchmarkFailed(f"the clock does not know {word!r}")
    return Stop(found["stop"], found["busy"])


async def quiet(port: int, seconds: int) -> Stop:
    """Return the longest stop in a usual second: the median of several."""
    stops = []
    await read(port)
    for _ in range(seconds):
        await asyncio.sleep(_TICK_SECONDS)
        stops.append(await read(port))
    return Stop.usual(stops)


async def collect(port: int) -> Stop:
    """Return the stop of a full collection: the median of several."""
    stops = []
    for _ in range(_COLLECTIONS):
        stops.append(await read(port, "collect"))
        await asyncio.sleep(0.1)
    return Stop.usual(stops)


async def drain(port: int, crowd: Crowd) -> Stop | None:
    """Return the longest stop of a drain, from its beginning until the last connection has ended.

    None if the app cannot drain.

    Raises:
        TimeoutError: It does not end.
    """
    crowd.let_end()
    if await ask(port, "drain") is None:
        return None
    stops = [await read(port)]
    async with asyncio.timeout(_DRAIN_SECONDS):
        while not all(client.is_over for client in crowd.clients):
            await asyncio.sleep(0.5)
            stops.append(await read(port))
    return Stop.longest(stops)


async def measure_stops(contender: Contender, members: int, seconds: int) -> Sample:
    """Start a server, let the members in, and measure each kind of stop."""
    under, env = watched(contender)
    with under.server(env) as process:
        crowd = Crowd(source=2)
        try:
            nothing = await quiet(process.port, seconds)
            await come_in(contender, crowd, process.port, members)
            growing = await ask(process.port, "read") or {}
            tick = await quiet(process.port, seconds)
            collection = await collect(process.port)
            drained = await drain(process.port, crowd)
        finally:
            crowd.close()
    stops = {"collection": collection, "tick": tick}
    stops |= {} if drained is None else {"drain": drained}
    extras = {
        "members": members,
        "growing_ms": growing["collection"],
        "growing_cpu_ms": growing["collecting"],
    }
    for name, stop in {key: own.without(nothing) for key, own in stops.items()}.items():
        extras |= {f"{name}_ms": stop.clock, f"{name}_cpu_ms": stop.cpu}
    extras |= {"nothing_ms": nothing.clock, "nothing_cpu_ms": nothing.cpu}
    return Sample(value=extras["collection_ms"], extras=extras)


def stops_of(
    contenders: tuple[str, ...], members: int | None = None, usual_seconds: int = _SECONDS
) -> Scenario:
    """Make the scenario of the longest stops of the loop.

    Args:
        members: How many; None: as many as the system allows.
        usual_seconds: In how many seconds a usual one is looked for.
    """
    count = most_members(MEMBERS) if members is None else members

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async def play() -> Sample:
            return await measure_stops(contender, count, usual_seconds)

        yield play

    return Scenario(
        key="stops",
        title=f"The longest stop of the event loop, {count:,} idle members",
        unit="ms by the clock (CPU time)",
        contenders=contenders,
        enter=enter,
        seconds=2 * usual_seconds * _TICK_SECONDS + 13 + count / 450,
        ready_seconds=0,
        most_rounds=1,
        kind="stops",
        conditions=(
            f"All are members of one channel.{_fewer(count)} A timer in the server that is due each"
            " millisecond notes how much too late it is, and in brackets the CPU time of the loop"
            " meanwhile. *Collection* is a full one of the cyclic collector, forced; *while they"
            " join* is the longest that came by itself until all were there. *Drain* is the longest"
            " stop from the beginning of a drain until the last connection has ended. *Tick* is the"
            " longest in a usual second, in which PondSocket looks at each connection once. What"
            " the same server shows in a usual second without members is subtracted from these."
        ),
    )


def _fewer(count: int) -> str:
    if count >= MEMBERS:
        return ""
    return f" {MEMBERS:,} were wanted; the system's limit on open files allows no more."
