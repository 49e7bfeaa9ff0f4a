"""What the tests of slow consumers have in common: a lobby with a policy, and peers that stall."""

from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

from pondsocket import Counter, PondSocket, SlowConsumers
from pondsocket._congestion import Congestion
from pondsocket.testing import MemoryPeer

from tests.core.ponds import ROOM, House, admit, let_in, relay, settled


class Tallies:
    """Metrics that add up."""

    def __init__(self) -> None:
        self.counts: Tally[Counter] = Tally()

    def count(self, counter: Counter, amount: int) -> None:
        self.counts[counter] += amount

    def queue_depth(self, frames: int) -> None: ...


def house_with(policy: SlowConsumers, join: Callable[..., Any] = let_in) -> House:
    pond = PondSocket(metrics=Tallies())
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", join, slow_consumers=policy)
    lobby.on_message("say", relay)
    return House(pond, endpoint, lobby)


def counted(house: House) -> Tally[Counter]:
    observer = house.pond._environment.observer
    assert observer is not None
    assert isinstance(observer._metrics, Tallies)
    return observer._metrics.counts


def congestion(house: House) -> Congestion:
    return house.endpoint._congestion


async def stalled(house: House, peer: MemoryPeer, capacity: int, name: str = ROOM) -> None:
    """Have somebody join and read no more."""
    assert (await peer.join(name)).event == "ACKNOWLEDGE"
    await settled()
    peer.drain()
    peer.capacity = capacity


def numbers(peer: MemoryPeer) -> list[Any]:
    return [m.payload["n"] for m in peer.drain() if m.event == "tick"]  # type: ignore[index]


async def tell(house: House, *payloads: dict[str, Any], name: str = ROOM) -> None:
    channel = house.pond.channel("/socket", name)
    for payload in payloads:
        await channel.broadcast("tick", payload)
