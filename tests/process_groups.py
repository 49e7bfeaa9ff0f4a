"""Ends what a test run started, where the run was killed before it could do so itself.

Servers live in process groups of their own, so nothing that ends the test run reaches them. One
small process per run knows these groups by its standard input, which ends with the run.
"""

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path


class ProcessGroups:
    """The process groups that must not outlive this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, group: int) -> None:
        """Kill this group when this process ends."""
        self._tell(group)

    def remove(self, group: int) -> None:
        """Forget a group that has ended: its number may soon be another group's."""
        self._tell(-group)

    def _tell(self, number: int) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            atexit.register(self._process.communicate)
        if self._process.stdin is not None:
            self._process.stdin.write(b"%d\n" % number)
            self._process.stdin.flush()


def watch() -> None:
    """Read the groups until the test run has ended, and kill those that are left."""
    left = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            left.add(number)
        else:
            left.discard(-number)
    for group in left:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended meanwhile


PROCESS_GROUPS = ProcessGroups()

if __name__ == "__main__":
    watch()
