"""Runs the tests in two processes, as most machines have two cores or more."""

import sys
from typing import Final

from tests.parallel import run_parts

# Each takes about half of the time.
_FIRST: Final = ("tests/core", "tests/cluster", "tests/common", "tests/clients")
PARTS: Final = [_FIRST, ("tests", *(f"--ignore={each}" for each in _FIRST))]

if __name__ == "__main__":
    sys.exit(run_parts(PARTS))
