"""What a server has used so far: CPU time and memory of its processes, all of them."""

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
    """User and system time of a process and the others of its group, in nanosecond resolution.

    `/proc/<pid>/stat` has the same number in steps of 10 ms.
    """
    total = 0.0
    for member in group_of(os.getpgid(pid)):
        # clock_getcpuclockid(3), which Python has for threads only: Linux makes the id like this.
        try:
            total += time.clock_gettime((~member << 3) | 2)
        except OSError:
            continue  # it ended in between
    return total


def group_kib(pid: int) -> int:
    """Resident memory of a process and the others of its group."""
    total = 0
    for member in group_of(os.getpgid(pid)):
        status = Path(f"/proc/{member}/status").read_text()
        found = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        total += sum(int(line.split()[1]) for line in found)
    return total


async def metered(pid: int, work: Callable[[], Awaitable[int]], unit: float) -> Sample:
    """Return what so many operations cost the server and the client.

    Args:
        work: Gives the number of operations; every one of which it has seen.
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
