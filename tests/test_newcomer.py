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
INSTALL: Final = {
    words: section
    for words, _, section in (
        each.partition("\n") for each in (ROOT / "docs" / "install.md").read_text().split("\n## ")
    )
}
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


@pytest.mark.parametrize("way", [way for way in INSTALL if way.startswith("From")])
def test_every_way_to_install_brings_these_packages(way: str, folder: Path) -> None:
    place = folder / way.replace(" ", "-")
    place.mkdir()
    address = f"GIT=file://localhost{folder}/pondsocket"
    output = follow(
        f"{INSTALL[way]}\n{INSTALL['Does it work?']}\n```sh\npip check\npip list\n```\n",
        place,
        prepare=f"python3 -m venv .venv; . .venv/bin/activate; {address}",
    )
    assert "PondSocket 0.1.0 has admitted " in output
    assert "No broken requirements found." in output
    for package in ("pondsocket-common", "pondsocket", "pondsocket-asgi", "uvicorn"):
        assert re.search(rf"^{package} +\d", output, re.MULTILINE), output


@pytest.mark.parametrize(
    "page",
    [
        "```sh\nfalse\n```\n",
        "```sh\nfalse | cat\n```\n",
        "```python\n# broken.py\n1 / 0\n```\n\n```sh\npython3 broken.py\n```\n",
        "```sh\nuvicorn nothing:app\n```\n",
        "```python\nport = 8001\n```\n\n```python\nassert port == 1\n```\n",
    ],
)
def test_a_page_that_fails_is_noticed(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        follow(page, tmp_path, wait=30)


@pytest.mark.usefixtures("tutorial")
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "README.md"])
def test_a_recipe_ends_with_green_tests(name: str, folder: Path) -> None:
    page = (folder / "pondsocket" / "docs" / "recipes" / name).read_text()
    output = follow(page, folder, prepare="cd chat; . .venv/bin/activate")
    assert PASSED.findall(output), output
