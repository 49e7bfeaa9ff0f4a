"""Run every program of this folder, two at a time; exit with 1 if one of them fails."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tests.servers import ROOT

FOLDER: Final = Path(__file__).parent
# Some wait for time-outs of half a minute.
SECONDS: Final = 120.0
AT_A_TIME: Final = 2


class Outcome(NamedTuple):
    """What became of one program.

    Args:
        text: Its last line, or how it ended without one.
    """

    name: str
    is_ok: bool
    text: str
    seconds: float


def programs(folder: Path = FOLDER) -> list[str]:
    """Return the names of the programs; helper modules begin with an underscore."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def judge(name: str, code: int, output: str, seconds: float) -> Outcome:
    """Say what became of a program that has ended.

    A program is ok only if it says so: one that ends early, with nothing said, has shown nothing.
    """
    lines = output.strip().splitlines()
    text = lines[-1] if lines else f"said nothing, and exited with {code}"
    is_ok = code == 0 and text.startswith(("ok", "skip"))
    return Outcome(name, is_ok, text if is_ok else output.strip() or text, seconds)


def run(name: str, package: str = "tests.faults", limit: float = SECONDS) -> Outcome:
    """Run one program in a process of its own."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"{package}.{name}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(name, False, f"did not end within {limit:g} s", limit)
    return judge(name, done.returncode, done.stdout, time.monotonic() - started)


def main(chosen: Sequence[str]) -> int:
    """Run these programs, or all. Return how many failed."""
    failed: list[str] = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for outcome in pool.map(run, chosen or programs()):
            print(f"{outcome.seconds:6.1f} s  {outcome.name}: {outcome.text}", flush=True)
            if not outcome.is_ok:
                failed.append(outcome.name)
    if failed:
        print(f"\nFAIL: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
