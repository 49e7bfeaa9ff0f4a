"""Programs that show, each by itself, that a fault which users meet elsewhere is not here.

Each prints `ok …` or `FAIL …` and exits with 0 or 1, or prints `skip …` where something that it
needs is not installed. `python -m tests.faults` runs all, `python -m tests.faults.NAME` one.
"""
