"""No server outlives its test run, however that ends."""

import os
import signal
import subprocess
import sys
from typing import Final

import pytest

from tests.servers import ROOT, Serve, comes_true, group_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP: Final = "tests.integration.portable_app:app"
# A test run that is killed while a server with a worker of its own is up.
KILLED: Final = f"""
import os, signal
from tests.servers import Server

server = Server({APP!r}, server="granian")
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_test_run_leaves_no_server() -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert comes_true(lambda: not group_of(int(run.stdout)), 5)


def test_a_server_that_does_not_end_is_a_failure_with_its_log(serve: Serve) -> None:
    server = serve(APP)
    with pytest.raises(AssertionError, match="Uvicorn running"):
        server.wait_exit(0.05)
    server.group_signal(signal.SIGTERM)
    assert 0 < server.wait_exit(10) < 10
    server.restart()
    pid = server.pid
    server.stop()
    assert not group_of(pid)
