"""Random programs on three ponds in one process: nothing is lost in silence, nothing comes twice.

`nox -s cluster` runs four times as many of them, and CLUSTER_SEEDS=500 still more.
"""

import os

import anyio
import pytest

from tests.cluster.programs import World
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops

SEEDS = int(os.environ.get("CLUSTER_SEEDS", "10"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_message_is_lost_in_silence_and_presence_is_true(seed: int) -> None:
    with anyio.fail_after(3_000):
        async with anyio.create_task_group() as tasks:
            world = World(seed, tasks)
            try:
                await world.begin()
                for _ in range(120):
                    await world.step()
                await world.settle()
                await world.check()
                await world.end()
                world.check_leaves()
            except BaseException:
                print("\n".join(world.log[-60:]))
                raise
            tasks.cancel_scope.cancel()
