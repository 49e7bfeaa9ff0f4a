"""When a quick run fails: if a ratio to the bare ASGI app is far off; never because of a time."""

from collections.abc import Iterable, Iterator
from typing import Final

from tests.benchmarks._figures import FLOOR, Result, ratio

# By scenario, PondSocket's highest cost, as a multiple of the bare ASGI app on the same server.
TARGETS: Final = {"fan-out": 1.15, "echo": 1.2, "join": 1.15, "sse": 1.2}
# The factor by which a small run on a busy machine may be off.
LEEWAY: Final = 2.0
_OURS: Final = ("ours", "ours-lane")


def complaints(results: Iterable[Result]) -> Iterator[str]:
    """Yield a sentence for each fault of a quick run; nothing if it has passed."""
    played = {result.key: result for result in results}
    for key, target in TARGETS.items():
        result = played.pop(key, None)
        if result is None:
            yield f"{key}: was not measured"
            continue
        for name, line in result.lines.items():
            if line.fault is not None:
                yield f"{key}, {name}: {line.fault}"
        yield from _ratios(result, target)


def _ratios(result: Result, target: float) -> Iterator[str]:
    floor = result.lines.get(FLOOR)
    own = {key: line for key, line in result.lines.items() if key in _OURS}
    if floor is None or "ours" not in own:
        yield f"{result.key}: the floor or `ours` did not take part"
        return
    for key, line in own.items():
        found = ratio(line, floor)
        if found is None:
            yield f"{result.key}, {key}: there is no ratio"
        elif found > target * LEEWAY:
            yield (
                f"{result.key}, {key}: {found:.2f} times the bare app;"
                f" {target:g} is the target, and {LEEWAY:g} times that is too much"
            )
