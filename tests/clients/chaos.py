"""What the chaos of both clients shares: how much is said, and the verdict on what was heard.

`CLIENT_CHAOS_COUNT` messages (2,000; all are 10,000), `CLIENT_CHAOS_RATE` a second.
"""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

from tests.chaos.app import CHANNELS
from tests.cluster.chaos.world import Speaker
from tests.servers import Server

Reports: TypeAlias = dict[str, list[dict[str, Any]]]
"""What each client of each process has heard."""

COUNT: Final = int(os.environ.get("CLIENT_CHAOS_COUNT", "2000")) // len(CHANNELS) * len(CHANNELS)
# Slow enough that a client hardly ever misses the 300 of a channel that a join recovers: 16 s.
RATE: Final = float(os.environ.get("CLIENT_CHAOS_RATE", "150"))
PER_CHANNEL: Final = COUNT // len(CHANNELS)
SECONDS: Final = COUNT / RATE
# Each process: half of them over WebSocket, half over event streams.
STEADY, WILD, SWALLOWED = 4, 6, 6
KILL_SECONDS: Final = 5.0
# Of the rejoins, at most.
TOLD_SHARE: Final = 0.1


@asynccontextmanager
async def peers(*command: str, cwd: Path, seconds: float) -> AsyncIterator[Process]:
    """Yield a process of clients, all of which have joined within `seconds`."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=PIPE, stdout=PIPE, limit=2**26
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(seconds):
            assert await process.stdout.readline() == b"joined\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def tell(processes: dict[str, Process], word: str) -> dict[str, Any]:
    """Tell all processes a word, and return what each of them answers."""
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.write(f"{word}\n".encode())
    answers: dict[str, Any] = {}
    async with asyncio.timeout(90):
        for name, process in processes.items():
            assert process.stdout is not None
            answers[name] = await process.stdout.readline()
    return answers


async def reports_of(processes: dict[str, Process]) -> Reports:
    """Return what the clients have heard, and expect their processes to end by themselves."""
    answers = await tell(processes, "report")
    async with asyncio.timeout(30):
        for process in processes.values():
            assert await process.wait() == 0, "what a closed client leaves keeps Node alive"
    return {name: json.loads(line) for name, line in answers.items()}


def judge_one_server(reports: Reports) -> None:
    """Expect all that one server has said, once and in order, or that a gap was told."""
    tallies = {name: show(name, found) for name, found in reports.items()}
    whole = list(range(1, PER_CHANNEL + 1))
    everyone = [each for found in reports.values() for each in found]
    heard = [(each, name, numbers) for each in everyone for name, numbers in each["heard"].items()]
    wrong = [
        (each["transport"], name, fault(numbers, whole))
        for each, name, numbers in heard
        if numbers != whole and not (each["told"][name] and rises(numbers))
    ]
    lost = sum(len(set(whole) - set(n)) for each, name, n in heard if not each["told"][name])
    doubled = sum(len(numbers) - len(set(numbers)) for *_, numbers in heard)
    told = sum(each["told"][name] for each, name, _ in heard)
    figures = f"{lost} lost, {doubled} doubled, {told} gaps told"
    print(f"{COUNT} messages to {len(everyone)} clients: {figures}")
    assert not wrong, wrong[:5]
    expect_recoveries(tallies, told, ("wild", "swallowed"))


def judge_workers(speaker: Speaker, reports: Reports, kills: int) -> None:
    """Expect all to hear what was said for certain, once, though workers were killed."""
    tallies = {name: show(name, found) for name, found in reports.items()}
    everyone = [each for found in reports.values() for each in found]
    outcomes = dict(speaker.outcomes)
    calls: Counter[str] = Counter()
    for each in everyone:
        for number, (channel, fate) in each["calls"].items():
            calls[fate] += 1
            outcomes[int(number)] = channel, fate
    certain: dict[str, set[int]] = {channel: set() for channel in CHANNELS}
    for number, (channel, fate) in outcomes.items():
        if fate == "ok":
            certain[channel].add(number)
    lost = doubled = told = 0
    for each in everyone:
        assert each["isJoined"], each["tally"]
        for channel, heard in each["heard"].items():
            told += each["told"][channel]
            doubled += len(heard) - len(set(heard))
            if missed := set() if each["told"][channel] else certain[channel] - set(heard):
                lost += len(missed)
                print(f"{each['transport']} {channel}: {sorted(missed)[:5]} are missing")
            unsent = {
                n for n, (where, fate) in outcomes.items() if (where, fate) == (channel, "unsent")
            }
            assert not unsent & set(heard), "what was said to be unsent was heard"
    said = sum(map(len, certain.values()))
    print(
        f"{len(outcomes)} messages, {said} of them certain, to {len(everyone)} clients: "
        f"{lost} lost, {doubled} doubled, {told} gaps told; {kills} workers killed; {dict(calls)}"
    )
    assert not lost
    assert not doubled
    assert not calls["open"]
    assert kills
    expect_recoveries(tallies, told, ("wild",))


def expect_recoveries(tallies: dict[str, Counter[str]], told: int, names: Iterable[str]) -> None:
    """Expect that these processes recovered over both transports, and that few gaps were told."""
    # Only clients that missed too much, on a machine that makes them wait, were told so.
    assert told < TOLD_SHARE * counted(tallies), tallies
    for name in names:
        for transport in ("websocket", "sse"):
            assert tallies[name][f"{transport}: recovered"] > len(CHANNELS), tallies


def show(name: str, reports: list[dict[str, Any]]) -> Counter[str]:
    """Print and return what happened to clients, by transport."""
    tally: Counter[str] = Counter()
    for each in reports:
        tally.update({f"{each['transport']}: {what}": n for what, n in each["tally"].items()})
    print(f"{name}: {dict(sorted(tally.items()))}")
    return tally


def counted(tallies: dict[str, Counter[str]]) -> int:
    """Return how many rejoins recovered all."""
    return sum(
        n for tally in tallies.values() for what, n in tally.items() if ": recovered" in what
    )


def rises(numbers: list[int]) -> bool:
    return all(later > earlier for earlier, later in pairwise(numbers))


def fault(heard: list[int], whole: list[int]) -> str:
    for place, number in enumerate(heard):
        if place >= len(whole) or number != whole[place]:
            return f"after {heard[max(0, place - 3) : place]} came {heard[place : place + 3]}"
    return f"ends with {heard[-1:]}"


async def kill_workers(server: Server, kills: list[int]) -> None:
    """Kill a worker now and then, when both are there; uvicorn starts another."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=5, limits=limits) as http:
        while True:
            await asyncio.sleep(KILL_SECONDS)
            seen: set[int] = set()
            while len(seen) < 2:
                try:
                    answer = await http.get(f"{server.http_url}/nothing")
                    seen.add(int(answer.headers["x-worker"]))
                except httpx.HTTPError:
                    seen.clear()
                await asyncio.sleep(0.05)
            kills.append(seen.pop())
            os.kill(kills[-1], signal.SIGKILL)
