"""Figures: one sample a round, medians and ratios of them, and how they are kept as JSON."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

FLOOR: Final = "bare"
# A client that works more than this part of a core may be what is measured.
BUSY: Final = 0.8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One round of one contender.

    Args:
        value: What the scenario measures, in its unit; less is better.
        client: The load client's own CPU time for the same.
        busy: How much of a core the client used.
        extras: What else was seen, such as `p50_ms`.
    """

    value: float
    client: float = 0.0
    busy: float = 0.0
    extras: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Line:
    """A contender's samples in one scenario, or why it has none."""

    samples: list[Sample] = field(default_factory=list)
    fault: str | None = None

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(sample.value for sample in self.samples)

    def median_of(self, name: str) -> float:
        """Of an extra, in the samples that have it."""
        return statistics.median(s.extras[name] for s in self.samples if name in s.extras)

    @property
    def client(self) -> float:
        """The client's CPU time, the median."""
        return statistics.median(sample.client for sample in self.samples)

    @property
    def busy(self) -> float:
        """How busy the client was, the median."""
        return statistics.median(sample.busy for sample in self.samples)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one scenario gave.

    Args:
        kind: How the page shows it: `cost`, `rate`, `difference` or `growth`.
        series: What grows, where it is a point of a plot, and how far: `x`.
        unit: Of the values, such as `us per delivery`.
        lines: By the contenders' keys.
        conditions: What the page has to say beside the title.
    """

    key: str
    title: str
    unit: str
    kind: str = "cost"
    conditions: str = ""
    series: str = ""
    x: float = 0
    lines: dict[str, Line] = field(default_factory=dict)


def ratio(own: Line, floor: Line) -> float | None:
    """Return the median of the rounds' own ratios: what slows a whole round falls out of it.

    Rounds that only one of them played do not count.
    """
    pairs = [
        mine.value / least.value
        for mine, least in zip(own.samples, floor.samples, strict=False)
        if least.value
    ]
    return statistics.median(pairs) if pairs else None


def difference(own: Line, other: Line) -> float:
    """Return the median of the rounds' own differences."""
    pairs = zip(own.samples, other.samples, strict=True)
    return statistics.median(mine.value - theirs.value for mine, theirs in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies: the nearest rank.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("there are no values")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def result_of(kept: dict[str, Any]) -> Result:
    """Return a result as `dataclasses.asdict` and JSON have kept it."""
    lines = {
        key: Line(samples=[Sample(**sample) for sample in line["samples"]], fault=line["fault"])
        for key, line in kept["lines"].items()
    }
    return Result(**{**kept, "lines": lines})


def rounded(value: Any, digits: int = 4) -> Any:
    """Return the same with each number cut to so many significant digits, to keep a file small."""
    keep: Callable[[Any], Any] = lambda inner: rounded(inner, digits)  # noqa: E731
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: keep(inner) for key, inner in value.items()}
    return [keep(inner) for inner in value] if isinstance(value, list) else value
