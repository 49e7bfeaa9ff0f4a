"""What the tests of draining have in common."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pondsocket.testing import MemoryPeer
from pondsocket_common import Goodbye

from tests.core.ponds import PondSetup, member


@asynccontextmanager
async def many_members(setup: PondSetup, size: int) -> AsyncIterator[list[MemoryPeer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(member(setup, f"user{n}")) for n in range(size)]


def goodbyes(peer: MemoryPeer) -> list[Goodbye]:
    """Receive all, and return the payloads of the goodbyes among it."""
    return [m.payload for m in peer.drain() if isinstance(m.payload, Goodbye)]
