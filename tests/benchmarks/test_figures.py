"""Medians and ratios of rounds, and their form in JSON."""

import json
from dataclasses import asdict

import pytest

from tests.benchmarks._figures import (
    Line,
    Result,
    Sample,
    difference,
    percentile,
    ratio,
    result_of,
    rounded,
)


def line(*values: float) -> Line:
    return Line(samples=[Sample(value=value) for value in values])


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    # The second round was three times as slow for both.
    assert ratio(line(12, 30, 11), line(10, 30, 10)) == pytest.approx(1.1)
    assert ratio(line(20), line(10, 50)) == pytest.approx(2)
    assert ratio(line(), line(1)) is None


def test_a_difference_is_the_median_of_the_rounds_own() -> None:
    assert difference(line(12, 33, 11), line(10, 30, 10)) == 2


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (51, 100)
    assert percentile([7.0], 0.99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_rounds_that_were_played_later_are_added_and_so_is_their_fault() -> None:
    own = line(1)
    own.extend(line(2, 3))
    own.extend(Line(fault="it was closed"))
    own.extend(line(4))
    assert own == Line(samples=line(1, 2, 3, 4).samples, fault="it was closed")


def test_a_result_comes_back_from_json_as_it_was() -> None:
    own = Line(samples=[Sample(value=11, extras={"p50_ms": 1.5})])
    lines = {"bare": line(10, 11), "ours": own, "django": Line(fault="it was closed")}
    result = Result(key="echo", title="Echo", unit="us", lines=lines)
    assert result_of(json.loads(json.dumps(asdict(result)))) == result


def test_kept_numbers_are_cut_short() -> None:
    assert rounded({"a": [1.23456789, 7, "x"], "b": 123_456.7}) == {
        "a": [1.235, 7, "x"],
        "b": 123_500.0,
    }
