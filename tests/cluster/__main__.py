"""Runs the tests on a real Redis in several processes: mostly they wait for leases to end."""

import sys
from typing import Final

from tests.parallel import run_parts

_FOLDER: Final = "tests/cluster"
_FAULTS: Final = f"{_FOLDER}/test_redis_faults.py"
PARTS: Final = [
    ("-m", "redis", "-k", loop, *files)
    for files in ((_FOLDER, f"--ignore={_FAULTS}", f"--ignore={_FOLDER}/chaos"), (_FAULTS,))
    for loop in ("not trio", "trio")
]

if __name__ == "__main__":
    sys.exit(run_parts([(*part, *sys.argv[1:]) for part in PARTS]))
