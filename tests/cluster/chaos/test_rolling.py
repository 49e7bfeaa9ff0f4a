"""A deploy of three nodes, one by one, and the end of one of them."""

import asyncio
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from .clients import CHANNELS, END
from .crowd import crowd, of_clients
from .verdict import judge
from .world import Speaker, eventually, world

pytestmark = [pytest.mark.redis, pytest.mark.timeout(90)]

MOST: Final = 10_000
RATE: Final = 200.0
CLIENTS: Final = 30


async def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, "nothing") as there, crowd(there, 0, CLIENTS, 1) as people:
        assert await people.expect("joined", 30), there.logs()
        speaker = Speaker(there.ports, CHANNELS, Random(1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speaker.speak(MOST, RATE))
            for node in there.nodes:
                await asyncio.sleep(1)
                await there.restart(node)
            await asyncio.sleep(1)
            speaker.is_over = True
        people.tell("calm")
        await asyncio.sleep(1)
        await speaker.end(END, there.ports)
        is_whole = await people.expect("whole", 20)
        reports = await people.report()
        verdict = judge(
            {**speaker.outcomes, **of_clients(reports)},
            {user: report["heard"] for user, report in reports.items()},
        )
        tally: Counter[str] = Counter()
        for report in reports.values():
            tally.update(report["tally"])
        print(f"\nrolling restart: {verdict}\n  {dict(tally)}")
        assert not verdict.faults, verdict.faults[:10]
        assert (verdict.told, verdict.silent) == (0, 0)
        assert is_whole
        assert not [each for each in speaker.outcomes.values() if each[1] == "refused"]
        await there.expect_shown(people.users, 3.0)
        # Each went to another node before this one was gone, or came back a moment later.
        joins, leaves = Counter(there.notes("join")), Counter(there.notes("leave"))
        assert all(count < joins[key] for key, count in leaves.items())
        assert "Traceback" not in there.logs(), there.logs()


async def test_the_leaves_of_a_drained_node_are_out_within_a_second(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(world(tmp_path, "nothing", drain=0.0))
        people = await stack.enter_async_context(crowd(there, 0, CLIENTS, 1))
        assert await people.expect("joined", 30), there.logs()
        people.tell("calm")
        await there.expect_shown(people.users, 3.0)
        ports: dict[str, Any] = await people.stay()
        drained = there.nodes.pop(1)
        gone = {user for user, port in ports.items() if port == drained.port}
        assert gone
        before = Counter(there.notes("leave"))
        began = time.monotonic()
        drained.server.signal(signal.SIGTERM)
        await there.expect_shown(people.users - gone, 1.0)
        expected = Counter({(user, channel): 1 for user in gone for channel in CHANNELS})
        await eventually(lambda: Counter(there.notes("leave")) - before == expected, 1.0)
        print(f"\ndrain of a node with {len(gone)} users: {time.monotonic() - began:.2f} s")
        assert Counter(there.notes("leave")) - before == expected
