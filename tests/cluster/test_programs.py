"""Random programs on three ponds in one process: nothing is lost in silence, nothing comes twice."""

from contextlib import AsyncExitStack

import anyio
import pytest

from tests.cluster.programs import World
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


@pytest.mark.parametrize("seed", range(20))
async def test_no_message_is_lost_in_silence(seed: int) -> None:
    world = World(seed)
    with anyio.fail_after(3_000):
        async with AsyncExitStack() as stack:
            for node in world.nodes:
                await stack.enter_async_context(node.pond)
            try:
                for client in world.clients:
                    await client.connect(world.random.choice(world.nodes))
                for _ in range(120):
                    await world.step()
                await world.settle()
                await world.check()
            except BaseException:
                print("\n".join(world.log[-40:]))
                raise
            finally:
                for client in world.clients:
                    await client._stack.aclose()
