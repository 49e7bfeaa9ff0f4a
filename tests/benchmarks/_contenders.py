"""Who is measured, and in which environment."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.servers import ROOT, Server

PEER: Final = "0.0.6"
# What carries every contender, and so must be the same for all.
CARRIERS: Final = ("uvicorn", "uvloop", "httptools", "websockets")

_UVICORN: Final = [
    "--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio",
    "--log-level", "warning", "--no-access-log",
    # Longer than a run: the pings of idle connections are not what is measured.
    "--ws-ping-interval", "3600",
]  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A server to be measured.

    Args:
        key: Its name on the command line.
        path: Where its WebSockets are.
        peer: Whether it runs PyPI's package instead of this repository's.
    """

    key: str
    label: str
    app: str
    path: str = "/socket"
    peer: bool = False

    def server(self) -> Server:
        """The server, not yet started. What it needs is installed first."""
        python = peer_python() if self.peer else sys.executable
        return Server(self.app, *_UVICORN, python=python)


BARE: Final = Contender("bare", "bare ASGI app (the floor)", "tests.benchmarks.apps.bare:app")
OURS: Final = Contender(
    "ours", f"pondsocket-asgi {version('pondsocket-asgi')} (ours)", "tests.benchmarks.apps.pond:app"
)
PYPI: Final = Contender(
    "pypi", f"pondsocket-asgi {PEER} (PyPI)", "tests.benchmarks.apps.pond:app", peer=True
)
CONTENDERS: Final = {contender.key: contender for contender in (BARE, OURS, PYPI)}


def peer_python() -> Path:
    """The interpreter of PyPI's package, with the same carriers as here.

    Raises:
        SystemExit: It cannot be set up.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        sys.exit("Start it with `uv run nox -s bench`, or without the peer: --only bare ours")
    env = ROOT / ".cache" / f"bench-pondsocket-asgi-{PEER}"
    python = env / "bin" / "python"
    wanted = [f"pondsocket-asgi=={PEER}", *(f"{name}=={version(name)}" for name in CARRIERS)]
    # Afresh every time: a second with uv's cache, and never another interpreter's leavings.
    make = [uv, "venv", "-q", "--clear", "--python", sys.executable, str(env)]
    fill = [uv, "pip", "install", "-q", "--python", str(python), *wanted]
    try:
        subprocess.run(make, check=True, timeout=60)
        subprocess.run(fill, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        sys.exit(f"The peer cannot be installed; go without it by --only bare ours. ({error})")
    return python
