"""Medians and ratios of rounds, and the verdict on a quick run."""

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
from tests.benchmarks._verdict import LEEWAY, TARGETS, complaints


def line(*values: float) -> Line:
    return Line(samples=[Sample(value=value) for value in values])


def results(times: float) -> list[Result]:
    """Make a quick run in which PondSocket took `times` times the targets."""
    return [
        Result(
            key=key,
            title=key,
            unit="us",
            lines={
                "bare": line(10, 11, 30),
                "ours": line(10 * target * times, 11 * target * times, 30 * target * times),
            },
        )
        for key, target in TARGETS.items()
    ]


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


def test_a_result_comes_back_from_json_as_it_was() -> None:
    result = results(1)[0]
    result.lines["ours"].samples[0].extras["p50_ms"] = 1.5
    result.lines["django"] = Line(fault="it was closed")
    assert result_of(json.loads(json.dumps(asdict(result)))) == result


def test_kept_numbers_are_cut_short() -> None:
    assert rounded({"a": [1.23456789, 7, "x"], "b": 123_456.7}) == {
        "a": [1.235, 7, "x"],
        "b": 123_500.0,
    }


def test_a_quick_run_near_its_targets_passes() -> None:
    assert list(complaints(results(1))) == []
    assert list(complaints(results(LEEWAY * 0.99))) == []


def test_a_quick_run_far_off_its_targets_fails_for_each() -> None:
    wrong = list(complaints(results(LEEWAY * 1.01)))
    assert [sentence.split(",")[0] for sentence in wrong] == list(TARGETS)


def test_a_ratio_of_the_fast_lane_that_is_far_off_fails() -> None:
    played = results(1)
    played[0].lines["ours-lane"] = line(30, 33, 90)
    assert [sentence.split(":")[0] for sentence in complaints(played)] == ["fan-out, ours-lane"]


@pytest.mark.parametrize("key", ["bare", "ours"])
def test_a_quick_run_in_which_a_contender_failed_fails(key: str) -> None:
    played = results(1)
    played[1].lines[key].fault = "a member heard something twice"
    assert list(complaints(played)) == [f"{played[1].key}, {key}: a member heard something twice"]


def test_a_quick_run_without_ours_or_a_scenario_fails() -> None:
    played = results(1)
    del played[2].lines["ours"]
    assert len(list(complaints(played))) == 1
    assert len(list(complaints(played[:-1]))) == 2
    played[0].lines["ours"] = Line()
    assert any("no ratio" in sentence for sentence in complaints(played))
