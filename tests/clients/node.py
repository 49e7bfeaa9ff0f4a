"""Node, and the packages that the tests of the client need of npm."""

import shutil
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).resolve().parent


def node() -> str:
    """Return the command that runs Node, where the packages of package.json are installed."""
    found = shutil.which("node")
    if found is None:
        pytest.fail("Node is not on the PATH: install it, then run `nox -s clients`", pytrace=False)
    if not (HERE / "node_modules" / "ws").is_dir():
        pytest.fail("The npm packages are not installed: run `nox -s clients`", pytrace=False)
    return found
