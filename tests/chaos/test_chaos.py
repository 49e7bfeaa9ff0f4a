"""Nothing is missed, whatever happens to the connections: fifty clients, half of them in trouble.

`CHAOS_COUNT` messages (20,000), `CHAOS_RATE` a second, `CHAOS_SEED` (`nox -s chaos`).
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import pytest

from tests.chaos.app import CHANNELS
from tests.chaos.proxy import SwallowingProxy
from tests.servers import FAST_LANE, ROOT, Serve

COUNT: Final = int(os.environ.get("CHAOS_COUNT", "20000"))
# Slow enough that hardly any client misses more than a join may recover, which are 300 of each
# channel, said in 12 s; and that two cores can deliver it, ten thousand times a second.
RATE: Final = float(os.environ.get("CHAOS_RATE", "200"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "1"))
SECONDS: Final = COUNT / RATE

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(4 * SECONDS + 120)]

STEADY: Final = 25
# Two processes cut their own connections, of which one goes through the proxy; one is stopped.
WILD: Final = (9, 8)
STOPPED: Final = 8
STOP_SECONDS: Final = 1.0


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, as the clients do."""
    return "asyncio"


@asynccontextmanager
async def listening(port: int, first: int, count: int, *, is_wild: bool) -> AsyncIterator[Process]:
    """Yield a process of clients, all of which have joined."""
    numbers = (port, first, count, COUNT // len(CHANNELS), int(is_wild), SEED + first)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.listeners", "127.0.0.1", *map(str, numbers)),
        cwd=ROOT,
        stdout=PIPE,
        limit=2**20,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"joined\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def stop_now_and_then(process: Process, random: Random) -> None:
    """Stop a whole process, and let it go on."""
    while True:
        await asyncio.sleep(random.expovariate(1 / 4.0))
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STOP_SECONDS)
        process.send_signal(signal.SIGCONT)


async def test_every_client_hears_everything_once_and_in_order(serve: Serve) -> None:
    random = Random(SEED)
    server = serve(
        "tests.chaos.app:app",
        *("--log-level", "warning", *FAST_LANE),
        env={"CHAOS_COUNT": str(COUNT), "CHAOS_RATE": str(RATE)},
    )
    async with (
        SwallowingProxy(server.port, random, pause=1.0) as proxy,
        listening(server.port, 0, STEADY, is_wild=False) as steady,
        listening(server.port, 100, WILD[0], is_wild=True) as wild,
        listening(proxy.port, 200, WILD[1], is_wild=True) as swallowed,
        listening(server.port, 300, STOPPED, is_wild=False) as stopped,
        asyncio.TaskGroup() as chaos,
    ):
        proxy.begin()
        stopping = chaos.create_task(stop_now_and_then(stopped, random))
        await speak(server.host, server.port)
        stopping.cancel()
        stopped.send_signal(signal.SIGCONT)
        processes = {"steady": steady, "wild": wild, "swallowed": swallowed, "stopped": stopped}
        reports = {name: await report(process) for name, process in processes.items()}

    for name, clients in reports.items():
        tally: Counter[str] = Counter()
        for client in clients:
            tally.update(client["tally"])
        print(f"{name}: {dict(tally)}")
    print(f"seed {SEED}: {COUNT} messages; the proxy swallowed {proxy.swallowed} bytes")
    all_clients = [client for clients in reports.values() for client in clients]
    assert len(all_clients) == STEADY + sum(WILD) + STOPPED
    faults = [fault for client in all_clients for fault in client["faults"]]
    assert not faults, faults[:10]
    # Only clients that missed too much were told so, on a machine that makes its clients wait.
    told = {
        answer: sum(client["tally"].get(f"recovered {answer}", 0) for client in all_clients)
        for answer in (True, False)
    }
    assert told[False] < told[True] / 10, told
    # Or it showed nothing.
    assert proxy.swallowed
    for name in ("wild", "swallowed"):
        for transport in ("websocket", "sse"):
            cut = [client for client in reports[name] if client["transport"] == transport]
            assert sum(client["tally"].get("recovered True", 0) for client in cut) > len(CHANNELS)
    assert "Traceback" not in server.log()


async def speak(host: str, port: int) -> None:
    """Have the server send all its messages."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /speak HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(4 * SECONDS + 60):
        await reader.read()
    writer.close()


async def report(process: Process) -> list[dict[str, Any]]:
    """Return what a process's clients have heard; they have a while to catch up."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
    clients: list[dict[str, Any]] = json.loads(line)
    return clients
