"""docs/deployment.md shows the very configurations that the tests run."""

import pytest
import yaml  # type: ignore[import-untyped]

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


@pytest.mark.parametrize("name", ["hypercorn.toml", "nginx.conf"])
def test_a_file_is_shown_whole(name: str) -> None:
    shown = [code for _, code in blocks(PAGE, "nginx", "toml")]
    assert (DEPLOY / name).read_text() in shown


def test_compose_starts_three_workers_behind_the_nginx_that_is_tested() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services.keys() == {"redis", "chat", "nginx"}
    chat, nginx = services["chat"], services["nginx"]
    assert chat["deploy"]["replicas"] == 3
    assert chat["environment"]["CHAT_REDIS"] == "redis://redis"
    assert '"CHAT_REDIS"' in (ROOT / "examples" / "chat.py").read_text()
    assert (DEPLOY / chat["build"]["context"] / "packages").resolve() == ROOT / "packages"
    (site,) = (volume.split(":")[0] for volume in nginx["volumes"])
    old, new = nginx["command"].partition("sed 's/")[2].partition("/'")[0].split("/")
    port = chat["command"].partition("--port ")[2].split()[0]
    assert new == f"chat:{port}"
    assert (DEPLOY / site).read_text().count(f"server {old};") == 1


def test_every_recommended_server_has_its_section() -> None:
    assert all(f"{server} " in PAGE for server in RECOMMENDED)
