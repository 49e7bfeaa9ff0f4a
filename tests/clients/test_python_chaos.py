"""The client in Python hears everything once and in order, whatever happens to its connections.

As `test_js_chaos.py`: `CLIENT_CHAOS_COUNT` messages (all are 10,000), `CLIENT_CHAOS_RATE` a second.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.chaos.app import CHANNELS
from tests.chaos.proxy import SwallowingProxy
from tests.cluster.chaos.clients import END
from tests.cluster.chaos.world import APP, Speaker, environment
from tests.cluster.redis_server import RedisServer
from tests.servers import FAST_LANE, ROOT, Server

from .test_js_chaos import (
    COUNT,
    PER_CHANNEL,
    RATE,
    SECONDS,
    STEADY,
    SWALLOWED,
    TOLD_SHARE,
    WILD,
    counted,
    fault,
    judge,
    kill_workers,
    reports_of,
    rises,
    show,
    tell,
)

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * SECONDS + 150)]


@pytest.fixture
def anyio_backend() -> str:
    """Run the test itself on asyncio; its clients run on both loops."""
    return "asyncio"


@asynccontextmanager
async def clients(
    loop: str, url: str, first: int, count: int, last: int, *, is_wild: bool, speaks: bool = False
) -> AsyncIterator[Process]:
    """Yield a process of clients, all of which have joined."""
    numbers = (first, count, first + 1, last, int(is_wild), int(speaks))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.clients.chaos_peer", loop, url, *map(str, numbers)),
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
        limit=2**26,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"joined\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_every_client_hears_everything_once_and_in_order() -> None:
    random = Random(1)
    env = {"CHAOS_COUNT": str(COUNT), "CHAOS_RATE": str(RATE)}
    with Server("tests.chaos.app:app", "--log-level", "warning", *FAST_LANE, env=env) as server:
        url = f"{server.http_url}/socket"
        async with (
            SwallowingProxy(server.port, random, pause=1.0) as proxy,
            clients("asyncio", url, 0, STEADY, PER_CHANNEL, is_wild=False) as steady,
            clients("trio", url, 100, WILD, PER_CHANNEL, is_wild=True) as wild,
            clients(
                *("asyncio", f"http://127.0.0.1:{proxy.port}/socket", 200, SWALLOWED, PER_CHANNEL),
                is_wild=True,
            ) as swallowed,
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
    people = len(everyone)
    print(f"{COUNT} messages to {people} clients: {lost} lost, {doubled} doubled, {told} gaps told")
    assert not wrong, wrong[:5]
    # Or it showed nothing.
    assert proxy.swallowed
    assert told < TOLD_SHARE * counted(tallies), tallies
    for name in ("wild", "swallowed"):
        for transport in ("websocket", "sse"):
            assert tallies[name][f"{transport}: recovered"] > len(CHANNELS), tallies


async def test_on_two_workers_with_redis_that_are_killed(tmp_path: Path) -> None:
    random = Random(2)
    with (
        RedisServer(tmp_path / "redis") as redis,
        Server(
            APP,
            *("--log-level", "warning", "--workers", "2"),
            env=environment(redis.url, tmp_path / "notes", 0),
        ) as server,
    ):
        url = f"{server.http_url}/socket"
        speaker = Speaker([server.port], CHANNELS, random)
        async with (
            clients("asyncio", url, 0, STEADY, END, is_wild=False) as steady,
            clients("trio", url, 100, WILD, END, is_wild=True, speaks=True) as wild,
        ):
            kills: list[int] = []
            async with asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_workers(server, kills))
                await speaker.speak(COUNT, RATE)
                killing.cancel()
            # What was in flight is said by now, and what comes last is known to all.
            processes = {"steady": steady, "wild": wild}
            await tell(processes, "calm")
            await speaker.end(END, [server.port])
            reports = await reports_of(processes)
    tallies = {name: show(name, found) for name, found in reports.items()}
    told = judge(speaker, reports, len(kills))
    assert told < TOLD_SHARE * counted(tallies), tallies
    for transport in ("websocket", "sse"):
        assert tallies["wild"][f"{transport}: recovered"] > len(CHANNELS), tallies
