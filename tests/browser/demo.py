"""`python examples/chat.py` as a person starts it."""

import re
import signal
import subprocess
import sys
import time
from typing import Final, Self

from tests.process_groups import PROCESS_GROUPS
from tests.servers import ROOT

COMMAND: Final = [sys.executable, str(ROOT / "examples" / "chat.py")]
END_SECONDS: Final = 20.0


class Demo:
    """The chat's own process, which can be started again on its port.

    Args:
        options: Of its command line.
    """

    host: Final = "127.0.0.1"

    def __init__(self, *options: str) -> None:
        self.url = ""
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """Its port; 0 before it has started."""
        return int(self.url.rpartition(":")[2] or "0")

    def start(self) -> None:
        """Start it on its port, at first any free one, and wait until it says where it is."""
        process = self._process = subprocess.Popen(
            [*COMMAND, "--port", str(self.port), *self._options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        PROCESS_GROUPS.add(process.pid)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"The chat is at (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line or process.communicate()[1]
        self.url = found[1]

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def expect_end(self) -> float:
        """Wait until it has ended, with no error and no output; return the seconds that took."""
        process, self._process = self._process, None
        assert process is not None
        began = time.monotonic()
        try:
            printed = process.communicate(timeout=END_SECONDS)
        finally:
            end(process)
        assert printed == ("", ""), printed
        # uvicorn ends by the signal that it was sent, once it has done all that it does at the end.
        assert process.returncode in (0, -signal.SIGTERM)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            end(self._process)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    PROCESS_GROUPS.remove(process.pid)
