"""Readers of event streams that are no browsers come back with the cursor, and lose nothing.

The server of `tests/interop` restarts under each, and cuts its stream in the middle of a message.
Of npm's readers those are tried that `nox -s interop` has installed.
"""

import shutil
import subprocess
import sys
from importlib.util import find_spec

from tests.interop.client_processes import HERE
from tests.servers import Server

NPM = ("eventsource2", "eventsource", "eventsource4", "fetch-event-source")
PYPI = ("httpx-sse", "lines")


def commands() -> dict[str, list[str]]:
    """Return the readers that are installed, and how each is run."""
    found: dict[str, list[str]] = {}
    node, folder = shutil.which("node"), HERE / "npm"
    if node is not None and (folder / "node_modules" / "eventsource4").is_dir():
        found.update({each: [node, str(folder / "readers.mjs")] for each in NPM})
    if find_spec("httpx") is not None and find_spec("httpx_sse") is not None:
        script = str(HERE / "pypi" / "readers.py")
        found.update({each: [sys.executable, script] for each in PYPI})
    return found


def main(readers: dict[str, list[str]]) -> list[str]:
    bad = []
    with Server("tests.interop.cutting_server:app") as server:
        url = f"{server.http_url}/socket"
        running = {
            reader: subprocess.Popen(
                [*command, url, f"run-{reader}", reader],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for reader, command in readers.items()
        }
        for reader, process in running.items():
            try:
                text, _ = process.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                text, _ = process.communicate()
            if process.returncode != 0:
                bad.append(f"{reader}: {text.strip()[-200:] or 'does not come back'}")
    return bad


if __name__ == "__main__":
    readers = commands()
    if not readers:
        print("skip: no reader of event streams is installed")
        sys.exit(0)
    bad = main(readers)
    print("FAIL " + "; ".join(bad) if bad else f"ok {', '.join(readers)} lose nothing")
    sys.exit(bool(bad))
