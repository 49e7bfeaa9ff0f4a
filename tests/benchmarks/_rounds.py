"""Rounds: every contender plays in each, so that what the machine does besides hits all alike."""

import asyncio
import resource
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import uvloop

from tests.benchmarks._client import BenchmarkFailed, Crowd
from tests.benchmarks._contenders import Contender
from tests.benchmarks._scenarios import Scenario, join
from tests.servers import Server

# For one round of one contender; a hundred times what it takes.
_PLAY_SECONDS: Final = 60.0
_MOST_FILES: Final = 16_384


@dataclass
class Figures:
    """CPU time of the server and of the client, in us per operation, one figure a round."""

    server: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)


@dataclass
class Player:
    """A contender under way."""

    contender: Contender
    server: Server
    crowd: Crowd = field(default_factory=Crowd)
    figures: Figures = field(default_factory=Figures)

    async def gather(self, scenario: Scenario) -> None:
        """Connect the clients, have them join, and warm up."""
        async with asyncio.timeout(_PLAY_SECONDS):
            await self.crowd.connect(self.server.port, self.contender.path, scenario.clients)
            await join(self.crowd)
        await self.play(scenario, max(1, scenario.repeats // 4))

    async def play(self, scenario: Scenario, repeats: int) -> tuple[float, float]:
        """One round: the server's and the client's microseconds per operation."""
        server, client = process_seconds(self.server.pid), time.process_time()
        async with asyncio.timeout(_PLAY_SECONDS):
            operations = await scenario.play(self.crowd, repeats)
        server, client = process_seconds(self.server.pid) - server, time.process_time() - client
        return server / operations * 1e6, client / operations * 1e6


def measure(
    scenario: Scenario, contenders: list[Contender], *, rounds: int, seconds: float
) -> dict[str, Figures]:
    """Play the rounds; fewer than asked for where `seconds` have passed.

    Raises:
        BenchmarkFailed: A server did not do what is measured.
    """
    _allow_files(len(contenders) * scenario.clients)
    with ExitStack() as servers:
        players = [
            Player(contender, servers.enter_context(contender.server())) for contender in contenders
        ]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_play_all(scenario, players, rounds, time.monotonic() + seconds))
    return {player.contender.key: player.figures for player in players}


async def _play_all(
    scenario: Scenario, players: list[Player], rounds: int, deadline: float
) -> None:
    for player in players:
        try:
            await player.gather(scenario)
        except (BenchmarkFailed, TimeoutError) as fault:
            raise _told(player, fault) from fault
    for number in range(rounds):
        # Nobody always follows the same neighbour.
        for player in players[number % len(players) :] + players[: number % len(players)]:
            try:
                server, client = await player.play(scenario, scenario.repeats)
            except (BenchmarkFailed, TimeoutError) as fault:
                raise _told(player, fault) from fault
            player.figures.server.append(server)
            player.figures.client.append(client)
        if time.monotonic() > deadline:
            return


def _told(player: Player, fault: Exception) -> BenchmarkFailed:
    why = str(fault) or f"not done within {_PLAY_SECONDS:g} s"
    return BenchmarkFailed(f"{player.contender.label}: {why}\n{player.server.log()}")


def process_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, in nanosecond resolution.

    `/proc/<pid>/stat` has the same number in steps of 10 ms.
    """
    # clock_getcpuclockid(3), which Python has for threads only: Linux makes the id like this.
    return time.clock_gettime((~pid << 3) | 2)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # the servers inherit it
    if count + 100 > max(soft, wanted):
        raise BenchmarkFailed(f"{count} connections need more open files than the {hard} allowed")


def table(scenario: Scenario, contenders: list[Contender], figures: Mapping[str, Figures]) -> str:
    """The figures of a scenario as lines of text; ratios are to the first contender.

    A ratio is the median of the rounds' own ratios: what slows a whole round falls out of it.
    """
    first = figures[contenders[0].key].server
    width = max(len(contender.label) for contender in contenders)
    lines = [
        f"{scenario.title}: CPU time in us per {scenario.operation}, {len(first)} rounds",
        f"{'':{width}}  {'median':>8} {'min':>8} {'max':>8} {'ratio':>8} {'client':>8}",
    ]
    for contender in contenders:
        own = figures[contender.key]
        ratio = statistics.median(
            mine / floor for mine, floor in zip(own.server, first, strict=True)
        )
        cells = [
            *(f(own.server) for f in (statistics.median, min, max)),
            ratio,
            statistics.median(own.client),
        ]
        numbers = " ".join(f"{cell:8.2f}" for cell in cells)
        lines.append(f"{contender.label:{width}}  {numbers}")
    return "\n".join(lines)
