"""The client for Node hears everything once and in order, whatever happens to its connections."""

import asyncio
from asyncio.subprocess import Process
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.chaos.app import CHANNELS
from tests.chaos.proxy import SwallowingProxy
from tests.cluster.chaos.clients import END
from tests.cluster.chaos.world import APP, Speaker, environment
from tests.cluster.redis_server import RedisServer
from tests.servers import FAST_LANE, Server

from .chaos import (
    COUNT,
    PER_CHANNEL,
    RATE,
    SECONDS,
    STEADY,
    SWALLOWED,
    WILD,
    judge_one_server,
    judge_workers,
    kill_workers,
    peers,
    reports_of,
    tell,
)
from .node import HERE, node

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * SECONDS + 150)]


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, as the proxy does."""
    return "asyncio"


def url_of(server: Server | SwallowingProxy) -> str:
    return f"http://127.0.0.1:{server.port}/socket"


def clients(
    url: str, first: int, count: int, last: int, *, is_wild: bool, speaks: bool = False
) -> AbstractAsyncContextManager[Process]:
    """Start a process of clients."""
    numbers = (first, count, first + 1, int(is_wild), int(speaks), last)
    return peers(node(), "chaos_peer.mjs", url, *map(str, numbers), cwd=HERE, seconds=30)


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
    judge_one_server(reports)
    assert proxy.swallowed, "it showed nothing"


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
    judge_workers(speaker, reports, len(kills))
