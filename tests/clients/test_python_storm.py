"""A thousand clients of a server that restarts do not come back all at once."""

from collections import Counter
from random import Random

import pytest
from pondsocket_asgi.client._machine.errors import Ended
from pondsocket_asgi.client._machine.machine import Machine
from pondsocket_asgi.client._machine.values import Connect
from pondsocket_common import (
    GATEWAY,
    Connected,
    Goodbye,
    ServerActions,
    ServerMessage,
    ServerPayload,
    SystemEvents,
)

CLIENTS = 1_000
WINDOW_SECONDS = 10.0


def message(payload: ServerPayload) -> ServerMessage:
    return ServerMessage(ServerActions.SYSTEM, SystemEvents.GOODBYE, GATEWAY, "1", payload)


def comes_back_at(machine: Machine, after: float, closed_at: float) -> float:
    """Return when a client connects again that is told to wait, and is closed."""
    machine.connect(0.0)
    machine.received(0.0, message(Connected("ann", "secret")))
    machine.received(10.0, message(Goodbye(1012, "restart", True, int(after * 1000))))
    machine.ended(10.0 + closed_at, Ended(1012))
    machine.effects.clear()
    at = machine.wake_at
    assert at is not None
    machine.tick(at)
    assert any(isinstance(effect, Connect) for effect in machine.effects)
    return at - 10.0


@pytest.mark.parametrize("dies", ["as it said", "at once"])
def test_no_second_has_more_than_15_percent(dies: str) -> None:
    random = Random(1)
    seconds: Counter[int] = Counter()
    for place in range(CLIENTS):
        after = WINDOW_SECONDS * (place + random.random()) / CLIENTS
        machine = Machine(random=random.random)
        closed_at = after if dies == "as it said" else 0.0
        seconds[int(comes_back_at(machine, after, closed_at))] += 1
    assert sum(seconds.values()) == CLIENTS
    assert max(seconds.values()) <= CLIENTS * 0.15, seconds
