"""Nothing is lost in silence, whatever happens to nodes, links and Redis.

`nox -s cluster -- --seeds 5`. `CHAOS_COUNT` messages (20,000), `CHAOS_RATE` a second.
"""

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from pondsocket.backplane.redis import RedisBackplane

from .clients import CHANNELS, END
from .crowd import Crowd, crowd, of_clients
from .plan import make_plan
from .verdict import judge
from .world import Speaker, World, eventually, world

COUNT: Final = int(os.environ.get("CHAOS_COUNT", "20000"))
RATE: Final = float(os.environ.get("CHAOS_RATE", "250"))
SECONDS: Final = COUNT / RATE
LEASE_SECONDS: Final = 5.0
# For so long a user is shown that Redis has forgotten: the node may return.
DOUBT_SECONDS: Final = RedisBackplane("redis://host", lease=LEASE_SECONDS).doubt_seconds

pytestmark = [pytest.mark.redis, pytest.mark.timeout(2 * SECONDS + 120)]

# Processes of clients; those of the second cut their own connections.
CROWDS: Final = 3
WILD: Final = 1
CLIENTS: Final = 20


async def test_nothing_is_lost_in_silence(seed: int, tmp_path: Path) -> None:
    began = time.monotonic()
    plan = make_plan(seed, SECONDS)
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(
            world(tmp_path, plan.persistence, lease=LEASE_SECONDS)
        )
        crowds = [
            await stack.enter_async_context(
                crowd(there, place * CLIENTS, CLIENTS, seed, is_wild=place == WILD)
            )
            for place in range(CROWDS)
        ]
        for each in crowds:
            assert await each.expect("joined", 30), there.logs()
        speaker = Speaker(there.ports, CHANNELS, Random(seed))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speaker.speak(COUNT, RATE))
            start = time.monotonic()
            for fault in plan.faults:
                await asyncio.sleep(start + fault.at - time.monotonic())
                tasks.create_task(there.suffer(fault))
        calm_at = time.monotonic()
        for each in crowds:
            each.tell("calm")
        await asyncio.sleep(1)
        await end_behind_their_backs(there, speaker)
        are_whole = [await each.expect("whole", 30) for each in crowds]
        reports: dict[str, Any] = {}
        for each in crowds:
            reports.update(await each.report())
        keep(there, reports, speaker)

        verdict = judge(
            {**speaker.outcomes, **of_clients(reports)},
            {user: report["heard"] for user, report in reports.items()},
        )
        tally: Counter[str] = Counter()
        for report in reports.values():
            tally.update(report["tally"])
        faults = Counter(fault.kind for fault in plan.faults)
        seconds = time.monotonic() - began
        print(f"\nseed {seed} ({plan.persistence}): {verdict}; {seconds:.0f} s")
        print(f"  {dict(faults)}\n  {dict(tally)}")
        assert not verdict.faults, verdict.faults[:10]
        assert not verdict.silent
        assert all(are_whole), are_whole
        assert "Traceback" not in there.logs(), there.logs()
        # A link that is half-open takes three seconds to be seen.
        await asyncio.sleep(calm_at + DOUBT_SECONDS + 4 - time.monotonic())
        await expect_presence_and_leaves(there, crowds)
        print(f"  all in {time.monotonic() - began:.0f} s")


async def end_behind_their_backs(there: World, speaker: Speaker) -> None:
    """Say the last message of each channel while only one node can hear it."""
    first, second, third = there.nodes
    second.proxy.swallow()
    third.proxy.cut(for_good=True)
    await speaker.end(END, [first.port])
    second.proxy.mend()
    third.proxy.mend()


def keep(there: World, reports: dict[str, Any], speaker: Speaker) -> None:
    """Keep all that is needed to look into a failure, if a folder is given."""
    if folder := os.environ.get("CHAOS_KEEP"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "reports.json").write_text(json.dumps(reports))
        (Path(folder) / "outcomes.json").write_text(json.dumps(speaker.outcomes))
        for number, node in enumerate(there.nodes):
            (Path(folder) / f"node{number}.log").write_text(node.server.log())


async def expect_presence_and_leaves(there: World, crowds: list[Crowd]) -> None:
    """Expect all nodes to show who is there, and leaves to be told once."""
    users = set[str]().union(*(each.users for each in crowds))
    await there.expect_shown(users, 2 * LEASE_SECONDS)
    joins, leaves = Counter(there.notes("join")), Counter(there.notes("leave"))
    # The users of a node that was taken for dead leave, and are there again when it goes on.
    most = {key: count + there.resurrections for key, count in joins.items()}
    twice = {key for key, count in leaves.items() if count > most[key]}
    assert not twice, f"left more often than they joined: {sorted(twice)[:5]}"

    first, *others = crowds
    before = Counter(there.notes("leave"))
    await first.end()
    gone, users = first.users, users - first.users
    await there.expect_shown(users, 3.0)
    expected = Counter({(user, channel): 1 for user in gone for channel in CHANNELS})
    await eventually(lambda: Counter(there.notes("leave")) - before == expected, 3.0)
    left = Counter(there.notes("leave")) - before
    assert left == expected, f"{left - expected} too many, {expected - left} missing"

    ports: dict[str, int] = {}
    for each in others:
        ports.update(await each.stay())
    before = Counter(there.notes("leave"))
    dead = max(there.nodes, key=lambda node: [*ports.values()].count(node.port))
    gone = {user for user, port in ports.items() if port == dead.port}
    await there.kill(dead)
    there.nodes.remove(dead)
    took = await there.expect_shown(users - gone, LEASE_SECONDS + 1.5)
    await asyncio.sleep(0.5)
    left = Counter(there.notes("leave")) - before
    assert set(left) <= {(user, channel) for user in gone for channel in CHANNELS}
    assert max(left.values(), default=0) <= 1
    print(
        f"  {len(gone)} users of a dead node are gone after {took:.1f} s, {len(left)} leaves told"
    )
