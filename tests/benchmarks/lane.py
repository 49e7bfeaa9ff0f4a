"""Server CPU time of uvicorn's WebSockets and of the fast lane's, around next to no app.

Run it as `python -m tests.benchmarks.lane`, or with `--quick` to see within seconds that it works.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Final

from tests.benchmarks._client import BenchmarkFailed
from tests.benchmarks._contenders import CARRIERS, Contender
from tests.benchmarks._machine import machine
from tests.benchmarks._rounds import measure, table
from tests.benchmarks._scenarios import Scenario, echo, fan_out
from tests.servers import Server

_SANSIO: Final = "websockets-sansio"
_FAST: Final = "pondsocket_asgi.fastlane:Protocol"


@dataclass(frozen=True)
class Way(Contender):
    """A way to serve.

    Args:
        ws: uvicorn's `--ws`.
        loop: uvicorn's `--loop`.
    """

    ws: str = _SANSIO
    loop: str = "uvloop"

    def server(self) -> Server:
        """The server, not yet started."""
        options = ("--log-level", "warning", "--no-access-log", "--ws-ping-interval", "3600")
        return Server(self.app, "--loop", self.loop, "--ws", self.ws, *options)


_APPS: Final = "tests.benchmarks.apps.lane"


def ways(loop: str) -> list[Contender]:
    """What is compared."""
    return [
        Way("base", "uvicorn's websockets-sansio", f"{_APPS}:by_send", loop=loop),
        Way("send", "fastlane, ASGI send", f"{_APPS}:by_send", ws=_FAST, loop=loop),
        Way("lane", "fastlane, lane.write", f"{_APPS}:by_lane", ws=_FAST, loop=loop),
    ]


def scenarios(quick: bool) -> list[Scenario]:
    """An echo, which is one message in and one out; and a room, which is nearly all out."""
    size = 10 if quick else 100
    return [
        Scenario(
            title=f"{size} clients that echo",
            operation="request",
            clients=size,
            repeats=10 if quick else 100,
            play=echo,
        ),
        Scenario(
            title=f"Fan-out to {size} clients",
            operation="delivery",
            clients=size,
            repeats=10 if quick else 100,
            play=fan_out,
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    chosen = parser.parse_args()
    contenders, rounds = ways(chosen.loop), 2 if chosen.quick else chosen.rounds
    print(machine(*CARRIERS))
    for scenario in scenarios(chosen.quick):
        try:
            figures = measure(scenario, contenders, rounds=rounds, seconds=180)
        except BenchmarkFailed as fault:
            sys.exit(str(fault))
        print(f"\n{table(scenario, contenders, figures)}", flush=True)


if __name__ == "__main__":
    main()
