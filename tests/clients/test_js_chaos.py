"""The client for Node hears everything once and in order, whatever happens to its connections.

`CLIENT_CHAOS_COUNT` messages (2,000; all are 10,000), `CLIENT_CHAOS_RATE` a second.
"""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest

from tests.chaos.app import CHANNELS
from tests.chaos.proxy import SwallowingProxy
from tests.cluster.chaos.clients import END
from tests.cluster.chaos.world import APP, Speaker, environment
from tests.cluster.redis_server import RedisServer
from tests.servers import FAST_LANE, Server

from .node import HERE, node

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

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * SECONDS + 150)]


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, as the proxy does."""
    return "asyncio"


def url_of(server: Server | SwallowingProxy) -> str:
    return f"http://127.0.0.1:{server.port}/socket"


@asynccontextmanager
async def clients(
    url: str, first: int, count: int, last: int, *, is_wild: bool, speaks: bool = False
) -> AsyncIterator[Process]:
    """Yield a process of clients, all of which have joined."""
    numbers = (first, count, first + 1, int(is_wild), int(speaks), last)
    process = await asyncio.create_subprocess_exec(
        *(node(), "chaos_peer.mjs", url, *map(str, numbers)),
        cwd=HERE,
        stdin=PIPE,
        stdout=PIPE,
        limit=2**26,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
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


async def reports_of(processes: dict[str, Process]) -> dict[str, list[dict[str, Any]]]:
    """Return what the clients have heard, and expect their processes to end by themselves."""
    answers = await tell(processes, "report")
    async with asyncio.timeout(30):
        for process in processes.values():
            assert await process.wait() == 0, "what a closed client leaves keeps Node alive"
    return {name: json.loads(line) for name, line in answers.items()}


def show(name: str, reports: list[dict[str, Any]]) -> Counter[str]:
    """Print and return what happened to clients, by transport."""
    tally: Counter[str] = Counter()
    for each in reports:
        tally.update({f"{each['transport']}: {what}": n for what, n in each["tally"].items()})
    print(f"{name}: {dict(sorted(tally.items()))}")
    return tally


async def test_every_client_hears_everything_once_and_in_order() -> None:
    random = Random(1)
    env = {"CHAOS_COUNT": str(COUNT), "CHAOS_RATE": str(RATE)}
    with Server("tests.chaos.app:app", "--log-level", "warning", *FAST_LANE, env=env) as server:
        url = url_of(server)
        async with (
            SwallowingProxy(server.port, random, pause=1.5) as proxy,
            clients(url, 0, STEADY, PER_CHANNEL, is_wild=False) as steady,
            clients(url, 100, WILD, PER_CHANNEL, is_wild=True) as wild,
            clients(url_of(proxy), 200, SWALLOWED, PER_CHANNEL, is_wild=False) as swallowed,
        ):
            proxy.begin()
            async with httpx.AsyncClient(timeout=4 * SECONDS + 60) as http:
                await http.get(f"{server.http_url}/speak")
            processes = {"steady": steady, "wild": wild, "swallowed": swallowed}
            await tell(processes, "calm")
            reports = await reports_of(processes)
        assert "Traceback" not in server.log(), server.log()[-4000:]
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
    # Or it showed nothing.
    assert proxy.swallowed
    # Only clients that missed too much, on a machine that makes them wait, were told so.
    assert told < TOLD_SHARE * counted(tallies), tallies
    for name in ("wild", "swallowed"):
        for transport in ("websocket", "sse"):
            assert tallies[name][f"{transport}: recovered"] > len(CHANNELS), tallies


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


async def test_on_two_workers_with_redis_that_are_killed(tmp_path: Path) -> None:
    random = Random(2)
    with (
        RedisServer(tmp_path / "redis") as redis,
        Server(
            APP,
            *("--log-level", "warning", "--workers", "2"),
            # On a busy machine it would end workers that are only slow.
            *("--timeout-worker-healthcheck", "60"),
            env=environment(redis.url, tmp_path / "notes", 0),
        ) as server,
    ):
        url = url_of(server)
        speaker = Speaker([server.port], CHANNELS, random)
        async with (
            clients(url, 0, STEADY, END, is_wild=False) as steady,
            clients(url, 100, WILD, END, is_wild=True, speaks=True) as wild,
        ):
            kills: list[int] = []
            async with asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_workers(server, kills))
                await speaker.speak(COUNT, RATE)
                killing.cancel()
            processes = {"steady": steady, "wild": wild}
            await tell(processes, "calm")
            await speaker.end(END, [server.port])
            reports = await reports_of(processes)
    tallies = {name: show(name, found) for name, found in reports.items()}
    told = judge(speaker, reports, len(kills))
    assert told < TOLD_SHARE * counted(tallies), tallies
    for transport in ("websocket", "sse"):
        assert tallies["wild"][f"{transport}: recovered"] > len(CHANNELS), tallies


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


def judge(speaker: Speaker, reports: dict[str, list[dict[str, Any]]], kills: int) -> int:
    """Expect all to hear what was said for certain, and nothing twice. Return the gaps told."""
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
    return told
