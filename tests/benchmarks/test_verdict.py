"""A quick run fails where a ratio is far above that of the page, and the page has these ratios."""

import json
from collections.abc import Callable, Sequence

import pytest

from tests.benchmarks import __main__ as program
from tests.benchmarks._contenders import Contender
from tests.benchmarks._figures import Line, Result, Sample
from tests.benchmarks._report import page
from tests.benchmarks._scenarios.catalogue import quick
from tests.benchmarks._scenarios.scenario import Scenario
from tests.benchmarks._verdict import (
    JUDGED,
    LEEWAY,
    complaints,
    improvements,
    is_far_off,
    ratios_of,
)
from tests.benchmarks.test_report import rows

KEPT = json.loads(program.KEPT.read_text())
WRITTEN = (program.KEPT.with_name(program.PAGE)).read_text()
PAGE = ratios_of(KEPT)
OURS = [(key, name) for key in PAGE for name in PAGE[key]]


def line(*values: float) -> Line:
    return Line(samples=[Sample(value=value) for value in values])


def results(times: float = 1, *, but: tuple[str, str] | None = None) -> list[Result]:
    """Make a quick run as the page has it, but for one contender, or all, `times` as costly."""

    def lines(key: str) -> dict[str, Line]:
        made = {"bare": line(10, 11, 30)}
        for name, due in PAGE[key].items():
            factor = due * (times if but in (None, (key, name)) else 1)
            made[name] = line(10 * factor, 11 * factor, 30 * factor)
        return made

    return [Result(key=key, title=key, unit="us", lines=lines(key)) for key in PAGE]


def test_the_page_is_written_from_its_figures() -> None:
    assert page(KEPT) == WRITTEN


@pytest.mark.parametrize("key", JUDGED)
def test_the_page_has_the_ratios_with_which_a_quick_run_is_compared(key: str) -> None:
    title = next(own["title"] for own in KEPT["results"] if own["key"] == key)
    table = WRITTEN.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert set(PAGE[key]) == ({"ours"} if key == "sse" else {"ours", "ours-lane"})
    for name, ratio in PAGE[key].items():
        [head] = rows(table, "median")  # `rows` drops the empty cell before it
        [row] = rows(table, KEPT["contenders"][name]["label"])
        assert row[1:][head.index("ratio")] == f"{ratio:.2f}"


def test_a_quick_run_measures_what_is_compared() -> None:
    played = {own.key: own.contenders for own in quick()}
    assert set(played) == set(JUDGED)
    for key, names in PAGE.items():
        assert {"bare", *names} <= set(played[key])


def test_a_quick_run_as_the_page_has_it_passes() -> None:
    for times in (1, LEEWAY * 0.99):
        assert list(complaints(results(times), PAGE)) == []
        assert not any(is_far_off(result, PAGE) for result in results(times))
    assert list(improvements(results(), PAGE)) == []


@pytest.mark.parametrize(("key", "name"), OURS)
def test_one_ratio_that_is_far_above_that_of_the_page_fails(key: str, name: str) -> None:
    played = results(LEEWAY * 1.01, but=(key, name))
    [wrong] = complaints(played, PAGE)
    assert wrong.startswith(f"{key}, {name}: {PAGE[key][name] * LEEWAY * 1.01:.2f} times the bare")
    assert f"on the page it is {PAGE[key][name]:.2f}" in wrong
    assert [result.key for result in played if is_far_off(result, PAGE)] == [key]


def test_what_is_far_better_is_told_and_does_not_fail() -> None:
    played = results(0.5, but=("join", "ours"))
    assert list(complaints(played, PAGE)) == []
    [told] = improvements(played, PAGE)
    assert told.startswith("join, ours: ")


@pytest.mark.parametrize("name", ["bare", "ours"])
def test_a_quick_run_in_which_a_contender_failed_fails(name: str) -> None:
    played = results()
    played[1].lines[name].fault = "a member heard something twice"
    assert f"{played[1].key}, {name}: a member heard something twice" in list(
        complaints(played, PAGE)
    )


def test_a_quick_run_without_a_scenario_or_a_contender_fails() -> None:
    played = results()
    del played[0].lines["ours-lane"], played[1].lines["bare"]
    played[2].lines["ours"] = Line()
    wrong = list(complaints(played[:-1], PAGE))
    keys = [result.key for result in played]
    assert f"{keys[0]}, ours-lane: there is no ratio" in wrong
    assert f"{keys[1]}, ours: there is no ratio" in wrong
    assert f"{keys[2]}, ours: there is no ratio" in wrong
    assert f"{keys[-1]}: was not measured" in wrong


@pytest.mark.parametrize("key", JUDGED)
def test_a_page_without_a_ratio_fails_whatever_was_measured(key: str) -> None:
    without = {own: ratios for own, ratios in PAGE.items() if own != key}
    assert list(complaints(results(), without)) == [f"{key}: the page has no ratio of it"]


@pytest.mark.parametrize(
    ("slow", "played"),
    [(0, 1), (1, 2), (2, 3), (9, 1 + program.REPEATS)],
    ids=["never", "once", "twice", "always"],
)
def test_a_scenario_that_is_far_off_is_played_again_and_medians_decide(
    slow: int, played: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def measure(
        scenario: Scenario, _: Sequence[Contender], rounds: int, told: Callable[[str], None]
    ) -> dict[str, Line]:
        nonlocal calls
        calls += 1
        # After two slow runs, a third decides only if it has more rounds.
        count = 5 if calls == 3 else 1
        times = LEEWAY * 1.2 if calls <= slow else 1
        factor = PAGE[scenario.key]["ours"] * times
        return {"bare": line(*[1.0] * count), "ours": line(*[factor] * count)}

    monkeypatch.setattr(program, "measure", measure)
    scenario = next(own for own in quick() if own.key == "join")
    result = program.play(scenario, (), 1, {"join": {"ours": PAGE["join"]["ours"]}})
    assert calls == played
    assert len(result.lines["ours"].samples) == sum([1, 1, 5][:calls])
    assert is_far_off(result, PAGE) is (slow == 9)
