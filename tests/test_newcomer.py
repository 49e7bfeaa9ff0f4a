"""From a fresh clone in an empty folder: the tutorial and every recipe, line by line.

Everything that a page says to install is installed by pip, in an environment of its own.
"""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.newcomer import follow
from tests.servers import ROOT

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

RECIPES: Final = sorted(path.name for path in (ROOT / "docs" / "recipes").glob("*.md"))
PASSED: Final = re.compile(r"^(\d+) passed|^Ran (\d+) tests", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a clone, and nothing else."""
    folder = tmp_path_factory.mktemp("newcomer")
    subprocess.run(["git", "clone", "-q", ROOT, "pondsocket"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def tutorial(folder: Path) -> str:
    return follow((folder / "pondsocket" / "docs" / "tutorial.md").read_text(), folder)


def test_the_tutorial_ends_with_green_tests(tutorial: str, folder: Path) -> None:
    assert [found[1] for found in PASSED.finditer(tutorial)] == ["2", "3"]
    assert "200" in tutorial.splitlines()  # the server has answered with the page
    python = folder / "chat" / ".venv" / "bin" / "python"
    code = "import pondsocket, pondsocket_asgi as a; print(pondsocket.__file__, a.__version__)"
    shown = subprocess.check_output([python, "-c", code], cwd=folder, text=True)
    assert str(folder / "chat" / ".venv") in shown


@pytest.mark.usefixtures("tutorial")
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "README.md"])
def test_a_recipe_ends_with_green_tests(name: str, folder: Path) -> None:
    page = (folder / "pondsocket" / "docs" / "recipes" / name).read_text()
    output = follow(page, folder, prepare="cd chat; . .venv/bin/activate")
    assert PASSED.findall(output), output
