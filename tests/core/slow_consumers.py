"""What the tests of slow consumers have in common: a lobby with a policy, and peers that stall."""

from collections import Counter as Counts
from collections.abc import Callable
from typing import Any

from pondsocket import Counter, PondSocket, SlowConsumers
from pondsocket._connection.overflow import Overflow
from pondsocket.testing import MemoryPeer

from tests.core.members import settled
from tests.core.ponds import ROOM, PondSetup, accept_join, admit, relay


class CountingMetrics:
    """Metrics that sum their counters."""

    def __init__(self) -> None:
        self.counts: Counts[Counter] = Counts()

    def count(self, counter: Counter, amount: int) -> None:
        self.counts[counter] += amount

    def queue_depth(self, frames: int) -> None: ...


def build_with(policy: SlowConsumers, join: Callable[..., Any] = accept_join) -> PondSetup:
    pond = PondSocket(metrics=CountingMetrics())
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", join, slow_consumers=policy)
    lobby.on_message("say", relay)
    return PondSetup(pond, endpoint, lobby)


def counted(setup: PondSetup) -> Counts[Counter]:
    observer = setup.pond._environment.observer
    assert observer is not None
    assert isinstance(observer._metrics, CountingMetrics)
    return observer._metrics.counts


def overflow_of(setup: PondSetup) -> Overflow:
    return setup.endpoint.routing.overflow


async def join_and_stall(
    setup: PondSetup, peer: MemoryPeer, capacity: int, name: str = ROOM
) -> None:
    """Have a client join and read no more."""
    assert (await peer.join(name)).event == "ACKNOWLEDGE"
    await settled()
    peer.drain()
    peer.capacity = capacity


def numbers(peer: MemoryPeer) -> list[Any]:
    return [m.payload["n"] for m in peer.drain() if m.event == "tick"]  # type: ignore[index]


async def tell(setup: PondSetup, *payloads: dict[str, Any], name: str = ROOM) -> None:
    channel = setup.pond.channel("/socket", name)
    for payload in payloads:
        await channel.broadcast("tick", payload)
