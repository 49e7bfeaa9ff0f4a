"""The benchmarks run to their end; these tests do not check their figures."""

import subprocess
import sys

import pytest

from tests.servers import ROOT

# Several servers for each of several scenarios; it takes far less on an idle machine.
SECONDS = 90


def run(*arguments: str) -> str:
    """Run a benchmark, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS - 10,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.timeout(SECONDS)
def test_scenarios_are_measured_for_us_and_the_floor() -> None:
    chosen = ("--scenarios", "fan-out", "sse", "--only", "bare", "ours", "--rounds", "1")
    printed = run("tests.benchmarks", "--quick", *chosen)
    assert printed.count("| bare ASGI app") == 2
    assert printed.count("(ours) |") == 2


@pytest.mark.integration
@pytest.mark.timeout(SECONDS)
def test_an_open_loop_is_measured_and_every_delivery_checked() -> None:
    chosen = ("--scenarios", "open-250", "--only", "limit", "--rounds", "1")
    printed = run("tests.benchmarks", *chosen)
    assert "| bare uvloop server" in printed


@pytest.mark.timeout(SECONDS)
def test_every_layer_is_measured() -> None:
    printed = run("tests.benchmarks.microbench", "--quick")
    assert "broadcast to 1,000" in printed
