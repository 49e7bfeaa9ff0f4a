"""When a quick run fails: where a ratio to the bare ASGI app is far above that of the page.

Never because of a time, and never because something has become better.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.benchmarks._figures import FLOOR, Line, Result, ratio, result_of

# By how much a ratio may be above the page's, for a short run and another machine.
LEEWAY: Final = 1.5
# The scenarios of a quick run; `catalogue.quick` makes them.
JUDGED: Final = ("fan-out", "echo", "join", "join-browser", "idle", "idle-browser", "sse")
_OURS: Final = ("ours", "ours-lane")

Ratios = Mapping[str, Mapping[str, float]]
"""By scenario and contender."""


class Finding(NamedTuple):
    """A ratio that was measured, and that of the page."""

    scenario: str
    contender: str
    measured: float
    expected: float

    @property
    def is_far_above(self) -> bool:
        """Whether it is so much above that a quick run fails."""
        return self.measured > self.expected * LEEWAY

    @property
    def is_far_below(self) -> bool:
        """Whether it is so much below that the page should be written anew."""
        return self.measured * LEEWAY < self.expected

    def __str__(self) -> str:
        return (
            f"{self.scenario}, {self.contender}: {self.measured:.2f} times the bare app;"
            f" on the page it is {self.expected:.2f}"
        )


def ratios_of(kept: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return PondSocket's ratios in the figures of a run, for the scenarios of a quick run."""
    found: dict[str, dict[str, float]] = {}
    for result in map(result_of, kept["results"]):
        if result.key in JUDGED and (floor := result.lines.get(FLOOR)) is not None:
            own = {key: ratio(result.lines.get(key, Line()), floor) for key in _OURS}
            found[result.key] = {key: value for key, value in own.items() if value is not None}
    return found


def findings(results: Iterable[Result], expected: Ratios) -> Iterator[Finding]:
    """Yield each ratio that both the run and the page have."""
    for result in results:
        floor = result.lines.get(FLOOR, Line())
        for key, due in expected.get(result.key, {}).items():
            found = ratio(result.lines.get(key, Line()), floor)
            if found is not None:
                yield Finding(result.key, key, found, due)


def is_far_off(result: Result, expected: Ratios) -> bool:
    """Whether more rounds should tell if it was the machine."""
    return any(found.is_far_above for found in findings([result], expected))


def complaints(results: Iterable[Result], expected: Ratios) -> Iterator[str]:
    """Yield a sentence for each fault of a quick run; nothing if it has passed."""
    played = {result.key: result for result in results}
    for key in JUDGED:
        if not expected.get(key):
            yield f"{key}: the page has no ratio of it"
            continue
        if key not in played:
            yield f"{key}: was not measured"
            continue
        lines = played[key].lines
        for name, line in lines.items():
            if line.fault is not None:
                yield f"{key}, {name}: {line.fault}"
        told = {found.contender: found for found in findings([played[key]], expected)}
        for name in expected[key]:
            if name not in told:
                yield f"{key}, {name}: there is no ratio"
            elif told[name].is_far_above:
                yield f"{told[name]}, and {LEEWAY:g} times that is the most"


def improvements(results: Iterable[Result], expected: Ratios) -> Iterator[str]:
    """Yield a sentence for each ratio that is far below that of the page."""
    for found in findings(results, expected):
        if found.is_far_below:
            yield f"{found}: better, so the page should be written anew"
