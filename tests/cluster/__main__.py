"""Runs the tests on a real Redis in several processes: mostly they wait for leases to end."""

import subprocess
import sys
from typing import Final

from tests.servers import ROOT

_FOLDER: Final = "tests/cluster"
_FAULTS: Final = f"{_FOLDER}/test_redis_faults.py"
PARTS: Final = [
    (loop, *files)
    for files in ((_FOLDER, f"--ignore={_FAULTS}", f"--ignore={_FOLDER}/chaos"), (_FAULTS,))
    for loop in ("not trio", "trio")
]


def main(arguments: list[str]) -> int:
    """Run all parts at once, and print their output one after another."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "-m", "redis", "-k", loop, *files, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for loop, *files in PARTS
    ]
    worst = 0
    for process in running:
        output, _ = process.communicate()
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        worst = max(worst, abs(process.returncode))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
