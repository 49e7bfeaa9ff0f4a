"""The machine on which the figures were taken."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

_LOOPS = 1_000_000


def machine(*packages: str) -> str:
    """Describe the interpreter, the versions of these packages, and the machine's speed now."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    started = time.process_time()
    for _ in range(_LOOPS):
        pass
    # Shows a build without --enable-optimizations, and other load on the machine.
    milliseconds = (time.process_time() - started) * 1_000
    return (
        f"Python {platform.python_version()}, {versions}\n"
        f"{platform.system()}, {_processor()}, {os.cpu_count()} CPUs,"
        f" load {os.getloadavg()[0]:.1f};"
        f" a million empty loops take {milliseconds:.0f} ms of CPU time"
    )


def _processor() -> str:
    """Return the processor's name if Linux gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
