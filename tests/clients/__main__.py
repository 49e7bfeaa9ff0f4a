"""Runs the tests that need Node or Redis in two processes: those of the chaos mostly wait."""

import sys
from typing import Final

from tests.parallel import run_parts

_FOLDER: Final = "tests/clients"
_COMPUTING: Final = (f"{_FOLDER}/test_js.py", f"{_FOLDER}/test_js_real.py")
PARTS: Final = [
    ("-s", "-m", "clients", *_COMPUTING),
    ("-s", "-m", "clients", _FOLDER, *(f"--ignore={file}" for file in _COMPUTING)),
]

if __name__ == "__main__":
    sys.exit(run_parts([(*part, *sys.argv[1:]) for part in PARTS]))
