"""Server CPU time per delivery of a fan-out and per echoed request, ours beside others.

Run it as `nox -s bench`, or `nox -s bench -- --quick` to see within seconds that it works.
Only ratios within one run mean anything: the machine's load moves single figures by 15 %.
"""

import argparse
import sys
from dataclasses import replace
from typing import Final

from tests.benchmarks._client import BenchmarkFailed
from tests.benchmarks._contenders import CARRIERS, CONTENDERS
from tests.benchmarks._machine import machine
from tests.benchmarks._rounds import measure, table
from tests.benchmarks._scenarios import Scenario, echo, fan_out

SCENARIOS: Final = (
    Scenario(
        title="Fan-out to 1,000 WebSocket clients",
        operation="delivery",
        clients=1_000,
        repeats=50,
        play=fan_out,
    ),
    Scenario(
        title="100 clients that echo",
        operation="request",
        clients=100,
        repeats=100,
        play=echo,
    ),
)
ROUNDS: Final = 11
# A scenario's rounds end here, however slow the machine is.
SECONDS: Final = 180.0


def quick(scenario: Scenario) -> Scenario:
    """The same, too small for its figures to mean anything."""
    clients = scenario.clients // 10
    title = f"{scenario.title} (quick: {clients} clients)"
    return replace(scenario, title=title, clients=clients, repeats=10)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    chosen = parser.parse_args()
    contenders = [CONTENDERS[key] for key in CONTENDERS if key in chosen.only]
    rounds = 2 if chosen.quick else chosen.rounds
    print(machine(*CARRIERS, "orjson"))
    for scenario in map(quick, SCENARIOS) if chosen.quick else SCENARIOS:
        try:
            figures = measure(scenario, contenders, rounds=rounds, seconds=SECONDS)
        except BenchmarkFailed as fault:
            sys.exit(str(fault))
        print(f"\n{table(scenario, contenders, figures)}", flush=True)


if __name__ == "__main__":
    main()
