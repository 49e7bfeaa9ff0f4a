"""Real `redis-server` and `redis-sentinel` processes on random ports, and their faults."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import hiredis

from tests.process_groups import PROCESS_GROUPS
from tests.servers import free_port

_START_SECONDS: Final = 20.0
PERSISTENCE: Final = {
    "nothing": ("--save", "", "--appendonly", "no"),
    # `save` is called by the test, so that what came after it is lost.
    "rdb": ("--save", "3600 100000", "--appendonly", "no"),
    "aof": ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
}


class Process:
    """A process of Redis, in a folder and on a port that stay the same when it starts again."""

    program = "redis-server"

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def command(self) -> list[str]:
        common = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--port", str(self.port)]
        return [self.program, *common, "--enable-debug-command", "yes", *self.arguments]

    def start(self) -> None:
        """Start it. It may still be loading what it has on its disk."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True
            )
        PROCESS_GROUPS.add(self._process.pid)
        ends = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.call("PING")
                return
            except (OSError, hiredis.ReplyError) as error:
                if str(error).startswith("NOAUTH"):
                    return
                if time.monotonic() > ends or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2_000:]) from error
                time.sleep(0.02)

    def kill(self) -> None:
        """End it with `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            PROCESS_GROUPS.remove(self._process.pid)
            self._process = None

    def freeze(self) -> None:
        """Stop it, with its connections open."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `freeze`."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def call(self, *arguments: str | bytes | int) -> Any:
        """Send a command, and wait for its reply."""
        with socket.create_connection(self.address(), timeout=5) as sock:
            sock.sendall(hiredis.pack_command(arguments))  # type: ignore[arg-type]
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                data = sock.recv(65_536)
                if not data:
                    raise ConnectionResetError
                reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def kill_clients(self, *kinds: str) -> None:
        """End the connections of all clients."""
        for kind in kinds or ("normal", "pubsub"):
            self.call("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


class RedisServer(Process):
    """One `redis-server`.

    Args:
        keeps: What it has on its disk: "nothing", "rdb" or "aof".
    """

    def __init__(self, folder: Path, *arguments: str, keeps: str = "nothing") -> None:
        replication = ("--repl-diskless-sync-delay", "0")
        super().__init__(folder, *PERSISTENCE[keeps], *replication, *arguments)


class Sentinel(Process):
    """One `redis-sentinel`, which decides alone.

    Args:
        master: What it watches first.
    """

    program = "redis-sentinel"

    def __init__(self, folder: Path, name: str, master: RedisServer) -> None:
        super().__init__(folder)
        self.configuration = folder / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {name} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {name} 1000\n"
            f"sentinel failover-timeout {name} 1000\n"
        )

    def command(self) -> list[str]:
        return [self.program, str(self.configuration)]


def is_installed(program: str = "redis-server") -> bool:
    return shutil.which(program) is not None
