"""The fast lane's benchmark runs to its end."""

import subprocess
import sys

import pytest

from tests.servers import ROOT

# Three servers, one after the other, for each of two scenarios; far less on an idle machine.
SECONDS = 90


@pytest.mark.integration
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_fast_lane_is_measured_beside_what_it_replaces(loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.lane", "--quick", "--loop", loop],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS - 10,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("lane.write") == 2
