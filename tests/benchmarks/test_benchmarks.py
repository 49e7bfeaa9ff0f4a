"""The benchmarks run to their end; their figures are nobody's business here."""

import subprocess
import sys

import pytest

from tests.servers import ROOT

# Two servers, one after the other, for each of two scenarios; far less on an idle machine.
SECONDS = 90


def run(*arguments: str) -> str:
    """What a benchmark prints."""
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
def test_fan_out_and_echo_are_measured_for_us_and_the_floor() -> None:
    printed = run("tests.benchmarks.fanout", "--quick", "--only", "bare", "ours")
    assert printed.count("bare ASGI app") == 2
    assert printed.count("(ours)") == 2


@pytest.mark.timeout(SECONDS)
def test_every_layer_is_measured() -> None:
    printed = run("tests.benchmarks.microbench", "--quick")
    assert "broadcast to 1,000" in printed
