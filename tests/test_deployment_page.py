"""docs/deployment.md shows the very configurations that the tests run."""

from pathlib import Path

import pytest

from tests.servers import RECOMMENDED, ROOT, ServerName
from tests.test_readme import blocks

PAGE = (ROOT / "docs" / "deployment.md").read_text()
DEPLOY = ROOT / "examples" / "deploy"


@pytest.mark.parametrize("server", ["uvicorn", "granian", "gunicorn"])
def test_a_command_has_the_options_that_are_tested(server: ServerName) -> None:
    commands = [code.split() for _, code in blocks(PAGE, "console")]
    (command,) = [command for command in commands if command[0] == server]
    options = list(RECOMMENDED[server])
    assert options == command[command.index(options[0]) :][: len(options)]


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_a_file_is_shown_whole(path: Path) -> None:
    shown = [code for _, code in blocks(PAGE, "nginx", "toml")]
    assert path.read_text() in shown


def test_every_recommended_server_has_its_section() -> None:
    assert all(f"{server} " in PAGE for server in RECOMMENDED)
