"""A real ASGI server in a process of its own, for tests and benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

ROOT: Final = Path(__file__).resolve().parent.parent

# Importing a framework takes seconds on a busy machine with two cores.
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0


class Server:
    """`python -m uvicorn <app>` on a loopback port.

    Args:
        app: `module:attribute`, importable from `folder`.
        arguments: Further uvicorn options, such as `"--root-path", "/ws"`.
        env: Added to this process's environment.
        python: The interpreter; by default the one that runs the tests.
        folder: The server's directory; by default the repository's root.
    """

    def __init__(
        self,
        app: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        python: str | Path = sys.executable,
        folder: Path = ROOT,
    ) -> None:
        self.host: Final = "127.0.0.1"
        self.port: Final = free_port()
        self._command = [str(python), "-m", "uvicorn", app, *arguments]
        self._command += ["--host", self.host, "--port", str(self.port)]
        self._folder = folder
        self._env = {**os.environ, **(env or {}), "PYTHONPATH": str(folder)}
        # A file, not a pipe: nobody reads while the test runs, and a full pipe stops the server.
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
        """The server's process id; measurements read its CPU time by it."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

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
        deadline = time.monotonic() + START_SECONDS
        while not accepts(self.host, self.port):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                why = "ended" if ended else f"did not accept within {START_SECONDS:g} s"
                raise RuntimeError(f"{' '.join(self._command)} {why}:\n{self.log()}")
            time.sleep(0.05)

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

    def restart(self, *, graceful: bool = True) -> None:
        """Stop and start again on the same port."""
        self.stop(graceful=graceful)
        self.start()

    def log(self) -> str:
        """What all runs of this server have printed so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._log.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(graceful=False)
        self._log.close()


class Serve(Protocol):
    """The type of the `serve` fixture."""

    def __call__(self, app: str, *arguments: str, env: dict[str, str] | None = None) -> Server: ...


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(host: str, port: int) -> bool:
    """Whether a TCP connection to the port succeeds now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
