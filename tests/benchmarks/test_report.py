"""The page is made from the figures of a run, and shows them."""

from dataclasses import asdict
from typing import Any

from tests.benchmarks.__main__ import arguments, command, joined, scenarios
from tests.benchmarks._figures import Line, Result, Sample
from tests.benchmarks._report import page

KEYS = (
    "bare", "ours", "ours-limited", "bare-granian", "ours-granian", "django",
    "ours-nodes", "django-nodes",
)  # fmt: skip


def line(*values: float, busy: float = 0.1, **extras: float) -> Line:
    samples = [Sample(value=own, client=2.5, busy=busy, extras=extras) for own in values]
    return Line(samples=samples)


def kept(*results: Result) -> dict[str, Any]:
    """Make the figures of a run."""
    return {
        "made": {"date": "today", "machine": "a Linux", "command": "bench -x", "minutes": 3},
        "missing": ["there is no `node` on the PATH"],
        "contenders": {key: {"label": key.upper(), "versions": {"uvicorn": "1.2"}} for key in KEYS},
        "results": [asdict(result) for result in results],
    }


def rows(text: str, first: str) -> list[list[str]]:
    """Return the cells of each table row whose first cell is `first`."""
    cells = [[cell.strip() for cell in own.strip("| ").split("|")] for own in text.splitlines()]
    return [row for row in cells if row[0] == first]


def test_a_line_has_medians_ratios_and_the_clients_cost() -> None:
    text = page(
        kept(
            Result(
                key="fan-out",
                title="Fan-out to all",
                unit="us per delivery",
                conditions="One speaks.",
                lines={
                    "bare": line(10, 20, 12),
                    "ours": line(11, 24, 12, busy=0.95),
                    "bare-granian": line(20, 40, 24),
                    "ours-granian": line(30, 60, 36),
                    "django": Line(fault="a connection\nwas lost"),
                },
            )
        )
    )
    assert "## Fan-out to all\n\nOne speaks. 3 rounds; us per delivery." in text
    assert rows(text, "OURS")[0] == ["OURS", "12.00", "11.00", "24.00", "1.10", "2.50²"]
    assert rows(text, "OURS-GRANIAN")[0][4] == "1.50"
    assert rows(text, "BARE-GRANIAN")[0][4] == "2.00"
    assert "* DJANGO: a connection was lost" in text


def test_an_open_loop_says_whether_it_was_kept_up_with() -> None:
    extras = {"in_time": 0.25, "per_second": 12_345.6, "kept_up": 0.0, "p50_ms": 3.0}
    lines = {"bare": line(10, **extras)}
    text = page(kept(Result(key="open-250", title="Open", unit="us", lines=lines)))
    assert rows(text, "BARE")[0][-4:] == ["**no**", "25%", "12,346", "3.00"]


def test_a_rate_a_difference_and_growth_have_tables_of_their_own() -> None:
    text = page(
        kept(
            Result(
                key="keeps-up", title="Up to", unit="messages a second", kind="rate",
                lines={"bare": line(400, fails_at=480, busy=0.9), "ours": line(0, fails_at=15)},
            ),
            Result(
                key="rate-limit", title="Limit", unit="us per message", kind="difference",
                lines={"ours": line(10, 12, 11), "ours-limited": line(10.5, 13, 11.25)},
            ),
            *(
                Result(
                    key=f"growth-members-{x}", title="", unit="us", kind="growth",
                    series="members", x=x, lines={"bare": line(x / 10), "ours": line(x / 5)},
                )
                for x in (10, 1_000)
            ),
        )
    )  # fmt: skip
    assert rows(text, "BARE")[0][1:3] == ["400", "480²"]
    assert rows(text, "OURS")[0][1:3] == ["no tried rate", "15"]
    assert "difference within a round is 0.50 us per message." in text
    assert rows(text, "members")[0] == ["members", "BARE", "OURS"]
    assert rows(text, "1,000")[0] == ["1,000", "100.00", "200.00"]


def test_stops_are_told_by_the_clock_and_by_cpu_time() -> None:
    extras = {
        "members": 19_500, "collection_ms": 400.5, "collection_cpu_ms": 390, "growing_ms": 300,
        "tick_ms": 3, "tick_cpu_ms": 2.5, "nothing_ms": 1, "nothing_cpu_ms": 0.5,
    }  # fmt: skip
    lines = {"bare": line(400.5, **extras), "ours": Line(fault="it was closed")}
    result = Result(key="stops", title="Stops", unit="ms", kind="stops", lines=lines)
    assert rows(page(kept(result)), "BARE")[0] == [
        "BARE", "19,500", "400.50 (390.00)", "300.00", "", "3.00 (2.50)", "1.00 (0.50)",
    ]  # fmt: skip
    assert "* OURS: it was closed" in page(kept(result))


def test_a_server_that_compresses_is_told_apart() -> None:
    lines = {"bare": line(10, deflate=1.0), "ours": line(10, deflate=0.0)}
    text = page(kept(Result(key="idle-browser", title="Idle", unit="KiB", lines=lines)))
    assert [rows(text, own)[0][-1] for own in ("BARE", "OURS")] == ["yes", "no"]


def test_workers_on_redis_have_a_section_if_they_were_measured() -> None:
    extras = {"p99_ms": 4.0, "redis_us": 9.5}
    result = Result(
        key="nodes-latency", title="Across", unit="ms added", kind="nodes",
        lines={"ours-nodes": line(0.5, **extras), "django-nodes": line(2, **extras)},
    )  # fmt: skip
    text = page(kept(result))
    assert text.index("## Two workers on Redis") < text.index("### Across")
    assert rows(text, "DJANGO-NODES")[0][4] == "4.00"
    assert rows(text, "OURS-NODES")[0][-2:] == ["4.00", "9.50"]
    assert "Two workers" not in page(kept())


def test_the_page_says_on_what_and_with_what_it_was_measured() -> None:
    text = page(kept())
    assert "today: a Linux\n\n`bench -x`, 3 minutes." in text
    assert rows(text, "OURS") == [["OURS", "uvicorn 1.2"]]
    assert "* there is no `node` on the PATH" in text


def test_the_figures_of_a_later_run_are_added_to_those_of_an_earlier_one() -> None:
    def of(key: str, value: float) -> Result:
        return Result(key=key, title=key, unit="us", lines={"ours": line(value)})

    later = kept(of("echo", 3), of("join", 4))
    later["made"] = {"date": "later", "machine": "another", "command": "bench -y", "minutes": 4}
    text = page(joined(kept(of("sse", 1), of("echo", 2)), later))
    # The order is the page's: echo, join, sse.
    assert [row[1] for row in rows(text, "OURS") if len(row) > 2] == ["3.00", "4.00", "1.00"]
    assert "today: a Linux\n\n`bench -x`, 3 minutes." in text
    assert "later: another\n\n`bench -y`, 4 minutes." in text
    assert "The runs, oldest first." in text
    assert "The runs" not in page(kept(of("sse", 1)))


def test_the_command_line_chooses_scenarios_and_is_told_without_the_folder() -> None:
    assert command(["--rounds", "3", "--add", "--out", "elsewhere", "--quick"]) == (
        "python -m tests.benchmarks --rounds 3 --quick"
    )
    chosen = arguments(["--scenarios", "open", "echo-one"])
    assert [own.key for own in scenarios(chosen)] == [
        "open-250", "open-1000", "open-5000", "echo-one",
    ]  # fmt: skip
    chosen = arguments(["--scenarios", "join", "stops", "--skip", "stops", "join-b"])
    assert [own.key for own in scenarios(chosen)] == ["join"]
    keys = [own.key for own in scenarios(arguments([]))]
    assert len(keys) == len(set(keys))
