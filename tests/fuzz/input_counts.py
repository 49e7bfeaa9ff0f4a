"""How many hostile inputs were sent, of which kind, and the last ones before a failure."""

import os
from collections import Counter, deque
from random import Random, SystemRandom
from typing import Final

# The same inputs on every run; `FUZZ_SEED=random` draws a new seed, which is printed.
_GIVEN: Final = os.environ.get("FUZZ_SEED", "1")
SEED: Final = SystemRandom().randrange(2**32) if _GIVEN == "random" else int(_GIVEN)
# `FUZZ_SCALE=10` sends ten times as much.
SCALE: Final = float(os.environ.get("FUZZ_SCALE", "1"))

SHARES: Final = {
    # Made by hypothesis, which takes some 5 ms for each.
    "hypothesis: messages": 1_500,
    "hypothesis: scopes": 1_000,
    "in memory: WebSocket": 8_000,
    "in memory: SSE": 3_000,
    "uvicorn: WebSocket": 56_000,
    "uvicorn: HTTP": 12_000,
    "every server: WebSocket": 12_000,
    "every server: HTTP": 4_000,
    # Against the default limits, which close the connection soon.
    "floods": 4_000,
}
ENOUGH: Final = 100_000


def share(name: str) -> int:
    """How many inputs a part of the suite has to send."""
    return int(SHARES[name] * SCALE)


class InputCount:
    """What one part of the suite has sent.

    Args:
        name: One of `SHARES`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.random = Random(f"{SEED} {name}")
        self.kinds: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=12)

    @property
    def count(self) -> int:
        """How many inputs there were."""
        return self.kinds.total()

    def add(self, kind: str, what: object) -> None:
        """Count an input that is about to be sent."""
        self.kinds[kind] += 1
        self.last.append(f"{kind}: {_shorten(what)}")

    def reproduce(self) -> str:
        """How to see a failure again."""
        where = f"FUZZ_SEED={SEED}, after {self.count} inputs of {self.name!r}"
        return "\n  ".join([f"{where}. The last ones:", *self.last])


def _shorten(what: object) -> str:
    text = what if isinstance(what, str) else repr(what)
    return text if len(text) <= 600 else f"{text[:450]} ... {text[-100:]} ({len(text)} characters)"


class InputCounts:
    """The counts of all parts."""

    def __init__(self) -> None:
        self.parts: dict[str, InputCount] = {}

    def of(self, name: str) -> InputCount:
        """Return the count of one part, which other tests may share."""
        return self.parts.setdefault(name, InputCount(name))

    @property
    def count(self) -> int:
        """All inputs so far."""
        return sum(part.count for part in self.parts.values())
