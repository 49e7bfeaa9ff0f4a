"""The pytest plugin: the same tests under every runner, switched off, and cheap to have."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.servers import ROOT

# Processes of their own, which share the machine with all others.
pytestmark = pytest.mark.timeout(90)

Run = Callable[..., str]

SUITE: Final = ROOT / "tests" / "asgi" / "kit_suite.py"
ASYNCIO: Final = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function")
# Per runner: what pytest is told, and the marks and the fixtures of its async tests.
RUNNERS: Final = {
    "anyio": (("-p", "anyio"), "anyio", "pytest.fixture"),
    "pytest-asyncio, auto": ((*ASYNCIO, "-o", "asyncio_mode=auto"), "", "pytest.fixture"),
    "pytest-asyncio, strict": (
        (*ASYNCIO, "-o", "asyncio_mode=strict"),
        "asyncio",
        "pytest_asyncio.fixture",
    ),
    "pytest-trio": (("-p", "trio", "-o", "trio_mode=true"), "", "pytest_trio.trio_fixture"),
    "pytest-xdist": (("-p", "anyio", "-p", "xdist", "-n1"), "anyio", "pytest.fixture"),
}
# Fixtures, refusals, faults, nodes, plain functions: none is left out by a runner.
TESTS: Final = 18


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest in a process of its own, with the plugins that are named and no others."""

    def start(*arguments: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error", "-m", "pytest", "-c", os.devnull),
                *("--rootdir", str(tmp_path), "--import-mode=importlib", "-p", "no:cacheprovider"),
                *arguments,
            ],
            env={
                **os.environ,
                "PYTEST_ADDOPTS": "",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                **environment,
            },
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=80,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    return start


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_same_tests_pass_under_every_runner(run: Run, runner: str) -> None:
    arguments, marks, fixture = RUNNERS[runner]
    library, _, name = fixture.rpartition(".")
    told = run(
        "-p", "pondsocket", *arguments, str(SUITE), MARKS=marks, FIXTURE=name, LIBRARY=library
    )  # fmt: skip
    found = re.search(r"(\d+) passed", told)
    assert found
    assert int(found[1]) >= TESTS
    assert not re.search("skipped|failed|xfailed|warning", told)


def test_it_works_in_unittest() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "tests/asgi/kit_unittest.py"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=80,
        check=False,
    )
    assert "Ran 2 tests" in done.stderr, done.stderr
    assert done.stderr.rstrip().endswith("OK")


NO_APP: Final = "def test_it(pond_client): pass\n"


def test_a_project_without_an_app_is_told_what_to_write(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(NO_APP)
    told = run("-p", "pondsocket", str(path), code=1)
    assert "Write in conftest.py:" in told
    assert "def pond_app():" in told


def test_it_is_switched_off(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(NO_APP)
    # It is found by its entry point, as in a project that has it installed; the others are not.
    others = ["anyio", "asyncio", "trio", "xdist", "timeout", "hypothesispytest", "pytest-anyio"]
    off = [argument for name in others for argument in ("-p", f"no:{name}")]
    told = run("-p", "no:pondsocket", *off, str(path), code=1, PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert "fixture 'pond_client' not found" in told
    assert "fixture 'pond_app' not found" not in told
    told = run(*off, str(path), code=1, PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert "Write in conftest.py:" in told


PROBE: Final = """
import sys, time, pytest
before, start = set(sys.modules), time.process_time()
import pondsocket_pytest
print(time.process_time() - start)
print(*sorted(set(sys.modules) - before))
"""


def test_to_have_it_costs_less_than_5_ms() -> None:
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROBE], text=True, capture_output=True, check=True, timeout=80
        )
        took, imported = done.stdout.splitlines()
        assert imported == "pondsocket_pytest"
        seconds.append(float(took))
    assert min(seconds) < 0.005
