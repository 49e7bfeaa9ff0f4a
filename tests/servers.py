"""Real servers in processes of their own, for tests and benchmarks."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, Self, TypeAlias

from tests.process_groups import PROCESS_GROUPS

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"

# Importing a framework takes seconds on a busy machine with two cores.
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
# Below the ports that systems hand out by themselves (Linux: from 32768): a restart on the same
# port must not find a client's socket on it.
PORTS: Final = range(20_000, 32_000)

ServerName: TypeAlias = Literal["uvicorn", "hypercorn", "granian", "gunicorn", "sanic"]

# What is always said, and how each of them is told where to listen.
ALWAYS: Final[dict[ServerName, tuple[str, ...]]] = {
    "uvicorn": (),
    "hypercorn": (),
    "granian": ("--interface", "asgi"),
    "gunicorn": ("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
    "sanic": ("--no-motd",),
}
BIND: Final[dict[ServerName, tuple[str, ...]]] = {
    "uvicorn": ("--host", "{host}", "--port", "{port}"),
    "hypercorn": ("--bind", "{host}:{port}"),
    "granian": ("--host", "{host}", "--port", "{port}"),
    "gunicorn": ("--bind", "{host}:{port}"),
    "sanic": ("--host", "{host}", "--port", "{port}"),
}

# What the deployment page tells people to write: `tests/integration/test_deployment.py` and the
# tests behind nginx run these very options.
RECOMMENDED: Final[dict[ServerName, tuple[str, ...]]] = {
    "uvicorn": (
        "--ws", "pondsocket_asgi.fastlane:Protocol", "--ws-max-size", "65536",
        "--ws-ping-interval", "15", "--ws-ping-timeout", "15",
        # What is still open after a drain is the host's own.
        "--timeout-graceful-shutdown", "10",
    ),
    "hypercorn": ("--config", "examples/deploy/hypercorn.toml"),
    # An open stream is a request, of which it serves 1,024 at once by default, and then no other.
    "granian": ("--backpressure", "50000", "--workers-kill-timeout", "15"),
    "gunicorn": ("--workers", "2", "--graceful-timeout", "15"),
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """One way to run a server: `serve(app, *setup.arguments, server=setup.server)`.

    Args:
        name: What a test's id says.
        server: Which server.
        arguments: Its options.
    """

    name: str
    server: ServerName
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


# The option by which uvicorn takes our own protocol.
FAST_LANE: Final = ("--ws", "pondsocket_asgi.fastlane:Protocol")
DEFLATE_LANE: Final = ("--ws", "pondsocket_asgi.fastlane:DeflateProtocol")
# What most people run on both loops, and the older implementations on one each.
UVICORNS: Final = (
    *(
        Setup(f"uvicorn-{loop}-{ws}", "uvicorn", ("--loop", loop, "--ws", ws))
        for loop, ws in (
            ("asyncio", "websockets-sansio"),
            ("asyncio", "wsproto"),
            ("uvloop", "websockets"),
            ("uvloop", "websockets-sansio"),
        )
    ),
    Setup("uvicorn-uvloop-fastlane", "uvicorn", ("--loop", "uvloop", *FAST_LANE)),
)
# `--workers 0` serves in the process itself; 1, the default, in a child of it.
HYPERCORNS: Final = tuple(
    Setup(
        f"hypercorn-{loop}-{workers}",
        "hypercorn",
        ("--worker-class", loop, "--workers", workers, "--error-logfile", "-"),
    )
    for loop in ("asyncio", "trio")
    for workers in ("0", "1")
)
GRANIANS: Final = (
    Setup("granian-asyncio-1", "granian", ("--loop", "asyncio", "--workers", "1")),
    Setup("granian-uvloop-2", "granian", ("--loop", "uvloop", "--workers", "2")),
)
GUNICORNS: Final = (Setup("gunicorn-2", "gunicorn", ("--workers", "2")),)
SERVERS: Final = UVICORNS + HYPERCORNS + GRANIANS + GUNICORNS
# Where each process would be a world of its own, a test of several clients needs the ones with one.
SINGLES: Final = tuple(setup for setup in SERVERS if not setup.name.endswith("-2"))


class Server:
    """A server on a loopback port.

    Args:
        app: `module:attribute`, importable from `folder`.
        arguments: Further options of the server, such as `"--root-path", "/ws"`.
        server: Which server.
        env: Added to this process's environment.
        python: The interpreter; by default the one that runs the tests.
        folder: The server's directory; by default the repository's root.
    """

    def __init__(
        self,
        app: str,
        *arguments: str,
        server: ServerName = "uvicorn",
        env: dict[str, str] | None = None,
        python: str | Path = sys.executable,
        folder: Path = ROOT,
    ) -> None:
        self.host: Final = HOST
        self.port: Final = free_port()
        bind = [word.format(host=self.host, port=self.port) for word in BIND[server]]
        self._command = [str(python), "-m", server, *ALWAYS[server], *bind, *arguments, app]
        self._folder = folder
        self._env = {**os.environ, **(env or {}), "PYTHONPATH": str(folder)}
        # A file, not a pipe: no test reads it while it runs, and a full pipe stops the server.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id, of its parent process where it has workers."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def start(self) -> None:
        """Start and wait until the port accepts connections.

        Raises:
            RuntimeError: The server ended, or did not accept in time; holds its log.
        """
        process = self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        PROCESS_GROUPS.add(process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not accepts(self.host, self.port):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                why = "ended" if ended else f"did not accept within {START_SECONDS:g} s"
                raise RuntimeError(f"{' '.join(self._command)} {why}:\n{self.log()}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the server's first process, as `kill` or a container does."""
        self._running.send_signal(number)

    def group_signal(self, number: int) -> None:
        """Send a signal to all of the server's processes, as systemd or Ctrl-C does."""
        os.killpg(self.pid, number)

    def wait_exit(self, seconds: float) -> float:
        """Wait until the server is gone, workers included; gives the seconds that it took.

        Raises:
            AssertionError: It is not gone in time; holds its log.
        """
        process, started = self._running, time.monotonic()
        if not comes_true(lambda: _has_ended(process), seconds):
            raise AssertionError(f"not gone within {seconds:g} s:\n{self.log()}")
        return time.monotonic() - started

    def stop(self, *, graceful: bool = True) -> None:
        """End the server and whatever it started; idempotent.

        Args:
            graceful: SIGTERM first, and SIGKILL only after `STOP_SECONDS`; else SIGKILL at once.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if graceful:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass  # uvicorn waits for open SSE streams without a limit of its own
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(STOP_SECONDS)
        # A worker that is not quite dead still holds the port, which a restart needs.
        comes_true(lambda: _has_ended(process), STOP_SECONDS)
        PROCESS_GROUPS.remove(process.pid)

    def restart(self, *, graceful: bool = True) -> None:
        """Stop and start again on the same port."""
        self.stop(graceful=graceful)
        self.start()

    def log(self) -> str:
        """Return what all runs of this server have printed so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._log.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(graceful=False)
        self._log.close()


class Serve(Protocol):
    """The type of the `serve` fixture."""

    def __call__(
        self,
        app: str,
        *arguments: str,
        server: ServerName = "uvicorn",
        env: dict[str, str] | None = None,
    ) -> Server: ...


def free_port() -> int:
    """Return a loopback port that had no listener a moment ago."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def accepts(host: str, port: int) -> bool:
    """Whether a TCP connection to the port succeeds now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes so in time; asked every 10 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether nothing of its process group runs any more."""
    return process.poll() is not None and not group_of(process.pid)


def group_of(number: int) -> list[int]:
    """Return the processes of a group, without those that have ended and were not waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # `pid (name) state parent group …`, where a name may hold spaces and parentheses.
            state, _parent, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended in between
        if int(group) == number and state not in "ZX":
            found.append(int(stat.parent.name))
    return found
