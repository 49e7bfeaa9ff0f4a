"""Figures: one sample a round, medians and ratios of samples, and their form in JSON."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

FLOOR: Final = "bare"
# Above this share of a core, the client may be what limits the figure.
BUSY: Final = 0.8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One round of one contender.

    Args:
        value: The measured value, in the scenario's unit; less is better.
        client: The load client's own CPU time for the same.
        busy: The share of a core that the client used.
        extras: Other measured values, such as `p50_ms`.
    """

    value: float
    client: float = 0.0
    busy: float = 0.0
    extras: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Line:
    """A contender's samples in one scenario, or the fault that stopped it."""

    samples: list[Sample] = field(default_factory=list)
    fault: str | None = None

    def extend(self, later: "Line") -> None:
        """Add the rounds that were played later."""
        self.samples += later.samples
        self.fault = self.fault or later.fault

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(sample.value for sample in self.samples)

    def median_of(self, name: str) -> float:
        """Return the median of an extra, in the samples that have it."""
        return statistics.median(s.extras[name] for s in self.samples if name in s.extras)

    @property
    def client(self) -> float:
        """The median of the client's CPU time."""
        return statistics.median(sample.client for sample in self.samples)

    @property
    def busy(self) -> float:
        """The median of the client's share of a core."""
        return statistics.median(sample.busy for sample in self.samples)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one scenario.

    Args:
        kind: The form in which the page shows it: `cost`, `rate`, `difference`, `stops`, `growth`
            or `nodes`.
        series: What grows, if the result is a point of a plot; `x` is its size.
        unit: The unit of the values, such as `us per delivery`.
        lines: By the contenders' keys.
        conditions: The sentence below the title on the page.
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
    """Return the median of the ratios of single rounds; None without a common round.

    What slows a whole round changes both values of its ratio alike. Rounds that only one of the
    two played do not count.
    """
    pairs = [
        mine.value / least.value
        for mine, least in zip(own.samples, floor.samples, strict=False)
        if least.value
    ]
    return statistics.median(pairs) if pairs else None


def difference(own: Line, other: Line) -> float:
    """Return the median of the differences of single rounds."""
    pairs = zip(own.samples, other.samples, strict=True)
    return statistics.median(mine.value - theirs.value for mine, theirs in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies: the nearest rank.

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("there are no values")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def result_of(kept: dict[str, Any]) -> Result:
    """Make a result from the form that `dataclasses.asdict` and JSON gave it."""
    lines = {
        key: Line(samples=[Sample(**sample) for sample in line["samples"]], fault=line["fault"])
        for key, line in kept["lines"].items()
    }
    return Result(**{**kept, "lines": lines})


def rounded(value: Any, digits: int = 4) -> Any:
    """Round every float in it to `digits` significant digits, which keeps the file small."""
    keep: Callable[[Any], Any] = lambda inner: rounded(inner, digits)  # noqa: E731
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: keep(inner) for key, inner in value.items()}
    return [keep(inner) for inner in value] if isinstance(value, list) else value
