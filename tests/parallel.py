"""Runs pytest in several processes at once, and prints their outputs one after another."""

import subprocess
import sys
from collections.abc import Sequence

from tests.servers import ROOT


def run_parts(parts: Sequence[Sequence[str]]) -> int:
    """Run pytest with the arguments of each part. Return 0, or an exit code that says what failed.

    The output of a part is printed as soon as it and those before it have ended.
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for arguments in parts
    ]
    worst = 0
    for process in running:
        output, _ = process.communicate()
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        worst = max(worst, abs(process.returncode))
    return worst
