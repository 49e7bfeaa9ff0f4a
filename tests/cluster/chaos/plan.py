"""What happens to the nodes and to Redis, and when: the same for the same seed. Pure."""

from random import Random
from typing import Final, NamedTuple

NODES: Final = 3
PERSISTENCE: Final = ("aof", "rdb", "nothing")


class Fault(NamedTuple):
    """Something that goes wrong.

    Args:
        at: Seconds from the beginning.
        kind: See `KINDS`.
        node: Whose trouble it is, if it is a node's.
        seconds: How long it lasts.
    """

    at: float
    kind: str
    node: int
    seconds: float


# How long each lasts, from and to.
KINDS: Final = {
    "kill a node": (0.2, 2.0),
    "stop a node": (0.5, 3.0),
    "restart a node": (0.2, 1.0),
    "kill Redis": (0.0, 1.5),
    "freeze Redis": (0.5, 4.0),
    "kill all links": (0.0, 0.0),
    "cut a link": (0.0, 1.0),
    "swallow": (0.5, 4.5),
    "lose replies": (0.2, 2.0),
    "stop a node past its lease": (5.5, 6.5),
}
# What every seed has; longer ones have more of it.
_ALWAYS: Final = (
    "kill a node", "kill Redis", "kill all links", "swallow", "lose replies", "cut a link",
    "stop a node",
)  # fmt: skip
_SECONDS_A_FAULT: Final = 2.5


class Plan(NamedTuple):
    """All of it.

    Args:
        persistence: What Redis has on its disk.
    """

    persistence: str
    faults: list[Fault]


def make_plan(seed: int, seconds: float) -> Plan:
    """Return the plan of a seed, for so many seconds."""
    random = Random(seed)
    count = max(len(_ALWAYS), round(seconds / _SECONDS_A_FAULT))
    kinds = [*_ALWAYS, *random.choices([*KINDS], k=count - len(_ALWAYS))]
    random.shuffle(kinds)
    step = seconds / count
    faults = [
        Fault(
            (place + random.random()) * step,
            kind,
            random.randrange(NODES),
            random.uniform(*KINDS[kind]),
        )
        for place, kind in enumerate(kinds)
    ]
    return Plan(PERSISTENCE[seed % len(PERSISTENCE)], faults)
