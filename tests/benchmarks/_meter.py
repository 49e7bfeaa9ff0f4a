"""The CPU time and memory that all processes of a server have used so far."""

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.benchmarks._figures import Sample
from tests.servers import group_of

MICROSECONDS: Final = 1e6
MILLISECONDS: Final = 1e3


def group_seconds(pid: int) -> float:
    """Return the user and system time of a process's whole group, in nanosecond resolution.

    `/proc/<pid>/stat` has the same number in steps of 10 ms.
    """
    total = 0.0
    for member in group_of(os.getpgid(pid)):
        # As clock_getcpuclockid(3) makes the id on Linux; Python has that call for threads only.
        try:
            total += time.clock_gettime((~member << 3) | 2)
        except OSError:
            continue  # it ended in between
    return total


def group_kib(pid: int) -> int:
    """Return the resident memory of a process's whole group."""
    total = 0
    for member in group_of(os.getpgid(pid)):
        status = Path(f"/proc/{member}/status").read_text()
        found = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        total += sum(int(line.split()[1]) for line in found)
    return total


async def metered(pid: int, work: Callable[[], Awaitable[int]], unit: float) -> Sample:
    """Measure what the operations of `work` cost the server and the client, per operation.

    Args:
        work: Returns the number of operations, after it has seen the result of each.
        unit: `MICROSECONDS` or `MILLISECONDS`.
    """
    started = time.perf_counter()
    server, client = group_seconds(pid), time.process_time()
    operations = await work()
    server, client = group_seconds(pid) - server, time.process_time() - client
    elapsed = time.perf_counter() - started
    return Sample(
        value=server / operations * unit, client=client / operations * unit, busy=client / elapsed
    )
