"""Runs pytest in several processes at once, and prints their outputs one after another."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.servers import ROOT

_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
_BYTECODE: Final = "PYTHONPYCACHEPREFIX"


def environment() -> dict[str, str]:
    """Return that of the parts: where no bytecode may lie beside the sources, it lies apart.

    Without any, each of the processes compiles all that it imports again, the servers too.
    """
    own = dict(os.environ)
    if own.pop(_NO_BYTECODE, ""):
        own.setdefault(_BYTECODE, str(ROOT / ".cache" / "bytecode"))
    return own


def run_parts(parts: Sequence[Sequence[str]]) -> int:
    """Run pytest with the arguments of each part. Return 0, or an exit code that says what failed.

    The output of a part is printed as soon as it and those before it have ended.
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=ROOT,
            env=environment(),
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
