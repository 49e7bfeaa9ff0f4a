"""Rounds: every contender runs in each, so that other load on the machine affects all alike."""

import asyncio
import gc
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import uvloop

from tests.benchmarks._client import BenchmarkFailed
from tests.benchmarks._contenders import Contender
from tests.benchmarks._figures import Line
from tests.benchmarks._scenarios.scenario import Play, Scenario

# For one round of one contender: a search for a rate on a busy machine, a new server each time.
_PLAY_SECONDS: Final = 400.0
_MOST_FILES: Final = 21_000
# For all files that are not connections of clients.
_OTHER_FILES: Final = 200
# The faults of a server. A `KeyError` would be a fault of the benchmark, and is not among them.
_FAULTS: Final = (BenchmarkFailed, TimeoutError, OSError, RuntimeError)


@dataclass
class Player:
    """A contender in a running scenario."""

    contender: Contender
    play: Play | None = None
    line: Line = field(default_factory=Line)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def get_ready(self, scenario: Scenario) -> None:
        """Start, connect, warm up."""
        try:
            self.play = await self.stack.enter_async_context(scenario.enter(self.contender))
        except _FAULTS as fault:
            await self.give_up(fault)

    async def take_turn(self) -> None:
        """Play one round, unless it has given up."""
        if self.play is None:
            return
        try:
            async with asyncio.timeout(_PLAY_SECONDS):
                self.line.samples.append(await self.play())
        except _FAULTS as fault:
            await self.give_up(fault)

    async def give_up(self, fault: Exception) -> None:
        """Record why, and play no more rounds."""
        self.play = None
        self.line.fault = str(fault) or f"{type(fault).__name__}: not done in time"
        await self.stack.aclose()


def measure(
    scenario: Scenario,
    contenders: Sequence[Contender],
    rounds: int,
    told: Callable[[str], None],
) -> dict[str, Line]:
    """Play the rounds; return the samples of each contender, by their keys."""
    players = [Player(contender) for contender in contenders]
    _allow_files(len(players) * scenario.connections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_play_all(scenario, players, min(rounds, scenario.most_rounds), told))
    return {player.contender.key: player.line for player in players}


async def _play_all(
    scenario: Scenario, players: list[Player], rounds: int, told: Callable[[str], None]
) -> None:
    try:
        for player in players:
            started = time.monotonic()
            await player.get_ready(scenario)
            if player.line.fault is not None:
                told(f"  {player.contender.label}: {player.line.fault}")
            else:
                told(f"  {player.contender.key} ready in {time.monotonic() - started:.1f} s")
        # The client's own collector would walk thousands of connections, again and again.
        gc.collect()
        gc.freeze()
        gc.disable()
        for number in range(rounds):
            # The order changes, so that no contender always follows the same one.
            for player in players[number % len(players) :] + players[: number % len(players)]:
                was_playing = player.play is not None
                await player.take_turn()
                if was_playing and player.line.fault is not None:
                    told(f"  {player.contender.label}: {player.line.fault}")
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
        for player in players:
            await player.stack.aclose()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # the servers inherit it
    if count + _OTHER_FILES > max(soft, wanted):
        raise BenchmarkFailed(f"{count} connections need more open files than the {hard} allowed")


def estimate(scenario: Scenario, contenders: int, rounds: int) -> float:
    """Estimate how many seconds the scenario takes."""
    played = min(rounds, scenario.most_rounds)
    return contenders * (scenario.ready_seconds + played * scenario.seconds)
