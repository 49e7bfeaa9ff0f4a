"""What a program of this folder prints at its end."""

import sys
from typing import NoReturn


def end(faults: list[str], shown: str) -> NoReturn:
    """Print the faults, or what was shown; exit as `python -m tests.faults` expects."""
    print("FAIL " + "; ".join(faults) if faults else f"ok {shown}")
    sys.exit(bool(faults))
