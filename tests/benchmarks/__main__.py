"""Measure the CPU time and memory of channel servers: PondSocket's and others'.

`nox -s bench` runs everything and writes docs/benchmarks.md with its plots and figures;
`nox -s bench -- --quick` takes two minutes and fails if a ratio to the bare ASGI app is 1.5 times
that of the page.
Only ratios within one run mean anything: the machine's load moves single figures by 15 %.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.benchmarks._client import BenchmarkFailed
from tests.benchmarks._contenders import (
    CARRIERS,
    CONTENDERS,
    Contender,
    ContenderMissing,
    of_checkout,
)
from tests.benchmarks._environments import Python
from tests.benchmarks._figures import Result, result_of, rounded
from tests.benchmarks._machine import machine
from tests.benchmarks._report import page, section
from tests.benchmarks._rounds import estimate, measure
from tests.benchmarks._scenarios.catalogue import quick, whole
from tests.benchmarks._scenarios.scenario import Scenario
from tests.benchmarks._verdict import Ratios, complaints, improvements, is_far_off, ratios_of
from tests.servers import ROOT

# A whole run then takes about 35 minutes.
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 3
# How often a quick run plays a scenario again that is far off: something else may have run.
REPEATS: Final = 2
FIGURES: Final = "benchmarks.json"
PAGE: Final = "benchmarks.md"
# The figures from which the page was written.
KEPT: Final = ROOT / "docs" / FIGURES
PLOTS: Final = Python("plots", ("matplotlib==3.11.2",))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="short; fails if a ratio is far above the page's"
    )
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="CONTENDER")
    parser.add_argument("--scenarios", nargs="+", metavar="PREFIX", help="such as `fan-out open`")
    parser.add_argument("--skip", nargs="+", metavar="PREFIX", default=[], help="scenarios to omit")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {QUICK_ROUNDS} with --quick")
    parser.add_argument(
        "--checkout", nargs="+", type=Path, default=[], metavar="FOLDER",
        help="measure other checkouts of this project beside it, in the same rounds",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the page there")
    parser.add_argument("--add", action="store_true", help="keep the other figures that are there")
    parser.add_argument("--render", action="store_true", help="write the page of an earlier run")
    parser.add_argument("--list", action="store_true", help="list the scenarios, and exit")
    chosen = parser.parse_args(words)
    if (chosen.render or chosen.add) and chosen.out is None:
        parser.error("--render and --add need --out, where the figures are")
    return chosen


def scenarios(chosen: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that the command line asks for."""
    prefixes, skipped = tuple(chosen.scenarios or ("",)), tuple(chosen.skip)
    return [
        own
        for own in (quick() if chosen.quick else whole())
        if own.key.startswith(prefixes) and not own.key.startswith(skipped)
    ]


def checkouts(folders: Iterable[Path], wanted: set[str]) -> dict[str, list[str]]:
    """Add this project's contenders, as other checkouts have them, to those that are wanted.

    Returns:
        The keys of those of other checkouts, by the key of this project's own.
    """
    others: dict[str, list[str]] = {}
    for number, folder in enumerate(folders, 1):
        for own in [CONTENDERS[key] for key in wanted if key.partition("-")[0] == "ours"]:
            other = of_checkout(own, folder.resolve(), number)
            CONTENDERS[other.key] = other
            others.setdefault(own.key, []).append(other.key)
    wanted.update(key for keys in others.values() for key in keys)
    return others


def prepared(keys: Iterable[str], missing: list[str]) -> dict[str, Contender]:
    """Return the contenders that can run here; add to `missing` why the others cannot."""
    ready = {}
    for key in keys:
        try:
            CONTENDERS[key].prepare()
        except ContenderMissing as why:
            missing.append(cleaned(str(why)))
            print(f"without {key}: {missing[-1]}", flush=True)
        else:
            ready[key] = CONTENDERS[key]
    return ready


def play(
    scenario: Scenario, contenders: Sequence[Contender], rounds: int, expected: Ratios
) -> Result:
    """Measure a scenario, and again while a ratio is far above what is expected of it."""
    lines = measure(scenario, contenders, rounds, print)
    result = Result(
        key=scenario.key, title=scenario.title, unit=scenario.unit, kind=scenario.kind,
        conditions=scenario.conditions, series=scenario.series, x=scenario.x, lines=lines,
    )  # fmt: skip
    for _ in range(REPEATS):
        if not is_far_off(result, expected):
            break
        print("  far off: once more", flush=True)
        for key, line in measure(scenario, contenders, rounds, print).items():
            lines[key].extend(line)
    for line in lines.values():
        line.fault = None if line.fault is None else cleaned(line.fault)
    return result


def run(chosen: argparse.Namespace, expected: Ratios) -> dict[str, Any]:
    """Measure, and return what benchmarks.json holds.

    Args:
        expected: The ratios of a scenario that is measured again where they are far off.
    """
    planned = scenarios(chosen)
    wanted = {key for scenario in planned for key in scenario.contenders}
    if chosen.only is not None:
        wanted &= set(chosen.only)
    missing: list[str] = []
    others = checkouts(chosen.checkout, wanted)
    ready = prepared((key for key in CONTENDERS if key in wanted), missing)
    rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS)
    playing = {
        own.key: [
            ready[each]
            for key in own.contenders
            for each in (key, *others.get(key, ()))
            if each in ready
        ]
        for own in planned
    }
    planned = [own for own in planned if playing[own.key]]
    seconds = sum(estimate(own, len(playing[own.key]), rounds) for own in planned)
    where = machine(*CARRIERS, "orjson")
    print(f"{where}\nabout {seconds / 60:.0f} minutes", flush=True)
    labels = {key: own.label for key, own in CONTENDERS.items()}
    results, started = [], time.monotonic()
    for scenario in planned:
        began = time.monotonic()
        print(f"\n{scenario.title} …", flush=True)
        result = play(scenario, playing[scenario.key], rounds, expected)
        results.append(result)
        print(f"{section(result, labels)}({time.monotonic() - began:.0f} s)", flush=True)
    return {
        "made": {
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": where.replace("\n", "; "),
            "command": command(sys.argv[1:]),
            "minutes": round((time.monotonic() - started) / 60, 1),
            "rounds": rounds,
        },
        "missing": missing,
        "contenders": {
            key: {"label": own.label, "versions": own.versions()} for key, own in ready.items()
        },
        "results": [rounded(asdict(result)) for result in results],
    }


def joined(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of two runs, in the order of the page.

    Of a scenario that both have measured, those of the later.
    """
    results = {own["key"]: own for own in (*earlier["results"], *later["results"])}
    places = {own.key: place for place, own in enumerate(whole())}
    return {
        **earlier,
        "later": [*earlier.get("later", ()), later["made"]],
        "missing": list(dict.fromkeys((*earlier["missing"], *later["missing"]))),
        "contenders": earlier["contenders"] | later["contenders"],
        "results": sorted(results.values(), key=lambda own: places.get(own["key"], len(places))),
    }


def command(words: Sequence[str]) -> str:
    """Return the command that measures the same again, without the `--out` folder."""
    kept = [word for word in words if word != "--add"]
    if "--out" in kept:
        place = kept.index("--out")
        del kept[place : place + 2]
    return shlex.join(["python", "-m", "tests.benchmarks", *kept])


def cleaned(text: str) -> str:
    """Return the text without this machine's paths."""
    return text.replace(f"{sys.prefix}/", "").replace(f"{ROOT}/", "")


def write(kept: dict[str, Any], folder: Path) -> None:
    """Write the figures, the page and its plots."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / FIGURES
    figures.write_text(json.dumps(kept, indent=1) + "\n")
    (folder / PAGE).write_text(page(kept))
    script = Path(__file__).with_name("_plots.py")
    subprocess.run([str(PLOTS.program), str(script), str(figures), str(folder)], check=True)


def main() -> None:
    """Measure or render, as the command line asks."""
    chosen = arguments()
    if chosen.list:
        for scenario in scenarios(chosen):
            print(f"{scenario.key:24}{scenario.title}: {' '.join(scenario.contenders)}")
        return
    if chosen.out is not None:
        try:
            PLOTS.prepare()  # fail before half an hour of measuring, not after it
        except ContenderMissing as why:
            sys.exit(f"The plots cannot be drawn: {why}")
    if chosen.render:
        write(json.loads((chosen.out / FIGURES).read_text()), chosen.out)
        return
    earlier = json.loads((chosen.out / FIGURES).read_text()) if chosen.add else None
    # A part of a quick run is not compared with the page: it may have one round, or no floor.
    is_judged = chosen.quick and not (chosen.scenarios or chosen.skip or chosen.only)
    expected = ratios_of(json.loads(KEPT.read_text())) if is_judged else {}
    try:
        kept = run(chosen, expected)
    except BenchmarkFailed as fault:
        sys.exit(str(fault))
    if chosen.out is not None:
        write(kept if earlier is None else joined(earlier, kept), chosen.out)
    judge(kept, expected if is_judged else None)


def judge(kept: dict[str, Any], expected: Ratios | None) -> None:
    """Exit with an error if a server of this project or a floor has a fault.

    Args:
        expected: The page's ratios, with which a quick run is compared; None: it is no such run.
    """
    results = [result_of(own) for own in kept["results"]]
    if expected is not None:
        wrong = list(complaints(results, expected))
        print("", *improvements(results, expected), sep="\n")
    else:
        wrong = [
            f"{result.key}, {key}: {line.fault}"
            for result in results
            for key, line in result.lines.items()
            if line.fault is not None and not CONTENDERS[key].peer
        ]
    if wrong:
        sys.exit("\n".join(["", *wrong]))
    if expected is not None:
        print("\nNo ratio is far above that of the page.")


if __name__ == "__main__":
    main()
