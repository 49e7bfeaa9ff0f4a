"""Runs the tests in two processes, as most machines have two cores or more."""

import sys
from typing import Final

from tests.parallel import run_parts
from tests.servers import ROOT

# Each takes about half of the time. Those of the benchmarks are run by `nox -s bench -- --quick`.
_FIRST: Final = (
    *("tests/core", "tests/cluster", "tests/common", "tests/clients", "tests/architecture"),
    *sorted(f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py")),
)
_OTHERS: Final = (*_FIRST, "tests/benchmarks")
PARTS: Final = [_FIRST, ("tests", *(f"--ignore={each}" for each in _OTHERS))]

if __name__ == "__main__":
    sys.exit(run_parts(PARTS))
