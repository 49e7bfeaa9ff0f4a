"""What hostile clients take of a server's memory: the second part of `python -m tests.fuzz.cost`.

For each row of `cost_memory_rows`, on each server, three figures:

* the peak: by how much the process's resident memory grew, as the kernel has kept it (`VmHWM`). It
  holds garbage, and what is free but not given back, so its limits are wide;
* what is held while the clients stay and are silent, and what is left after they have gone. Here
  resident memory says little: what is free between two objects that are in use stays resident, and
  that differs by megabytes from run to run. So Python allocates by glibc's malloc, which counts
  what is in use to the byte, and everything that C code allocates. Garbage is collected before.

A row is done once before it is measured: then everything is imported, and tables have their size.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks._meter import group_seconds
from tests.fuzz.cost_inputs import Transport
from tests.fuzz.cost_memory_clients import Crowd
from tests.fuzz.cost_memory_rows import Deed
from tests.fuzz.cost_verdict import Taken
from tests.fuzz.raw_sockets import ask, request
from tests.servers import Server

# What there is as long as a connection has not ended altogether.
ENDING: Final = ("connections", "channels", "tasks", "files")
APP: Final = "tests.fuzz.cost_memory_app:app"
# The threads' caches of glibc hold free blocks that it counts as used.
ENV: Final = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
IDLE: Final = 0.0005
IDLE_SECONDS: Final = 0.04
SETTLE_SECONDS: Final = 5.0
# A server may take ten seconds for its side of a close.
END_SECONDS: Final = 12.0
# Two readings that differ by less are of a server that has nothing left to do.
STILL_BYTES: Final = 2_048


class MemoryServer:
    """One server, at which one row after the other is aimed."""

    def __init__(self, server: Server, transport: Transport) -> None:
        self._server = server
        self._transport: Transport = transport
        self._turn = 0
        self._start = self._state() | {"files": math.inf}
        with self._crowd() as crowd:
            crowd.come()
        self._wait_for_end()
        # With what the server opens for its first client and keeps open, such as a file.
        self._start = self._state()

    @property
    def can_measure(self) -> bool:
        """Whether the C library counts what is in use."""
        return self._state()["held"] is not None

    def measure(self, deed: Deed, name: str) -> Taken:
        """Do it, and say what it has taken."""
        if not deed.is_fresh:
            with self._crowd() as crowd:
                deed.do(crowd)
        self._wait_for_end()
        before, resident = self._held(), self._watch_peak()
        with self._crowd() as crowd:
            deed.do(crowd)
            self._settle()
            time.sleep(deed.pause)
            peak = self._status("VmHWM") - resident
            held = self._held() - before
        still_open = self._wait_for_end()
        return Taken(deed, name, peak, held, self._held() - before, still_open)

    def _crowd(self) -> Crowd:
        self._turn += 1
        return Crowd(self._server.port, self._transport, self._turn)

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(ask(self._server.port, request("GET", "/memory")).body)
        return state

    def _held(self) -> int:
        return int(self._state()["held"])

    def _settle(self) -> None:
        """Wait until the server has done what it was asked."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = group_seconds(self._server.pid)
        while time.monotonic() < deadline:
            time.sleep(IDLE_SECONDS)
            now = group_seconds(self._server.pid)
            if now - before < IDLE:
                return
            before = now

    def _wait_for_end(self) -> str:
        """Wait until there is no more than at the start, and nothing more is given back.

        Returns:
            What has not ended in time, in words; nothing if all has.
        """
        deadline = time.monotonic() + END_SECONDS
        state = self._state()
        while True:
            time.sleep(IDLE_SECONDS)
            before, state = state, self._state()
            is_still = abs(before["held"] - state["held"]) < STILL_BYTES
            more = _more(state, self._start)
            if is_still and before["files"] == state["files"] and not more:
                return ""
            if time.monotonic() > deadline:
                return more

    def _watch_peak(self) -> int:
        """Begin to watch for the peak; gives what is resident now."""
        # 5: the peak is what there is now (proc_pid_clear_refs(5)).
        Path(f"/proc/{self._server.pid}/clear_refs").write_text("5")
        return self._status("VmRSS")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self._server.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024


def _more(state: dict[str, Any], start: dict[str, Any]) -> str:
    """What there is more than at the start, in words; nothing if all has ended."""
    return ", ".join(
        f"{state[name]} {name} instead of {start[name]}"
        for name in ENDING
        if state[name] > start[name]
    )


def measure_memory(
    deeds: Sequence[Deed], servers: dict[str, tuple[Transport, tuple[str, ...]]]
) -> list[Taken]:
    """Print the table; gives what was measured."""
    found: list[Taken] = []
    for name, (transport, arguments) in servers.items():
        rows = [deed for deed in deeds if name in deed.servers]
        if not rows:
            continue
        with Server(APP, *arguments, env=ENV) as server:
            aim = MemoryServer(server, transport)
            if not aim.can_measure:
                print(f"\n{name}: no memory is measured without glibc 2.33 or newer")
                continue
            print(f"\n{name:32} {'peak':>16} {'held':>16} {'left':>16}  KiB, of at most; bound by")
            for deed in rows:
                found.append(aim.measure(deed, name))
                print(found[-1].line(), flush=True)
    return found
