"""What is built is what users get: the three wheels, in an environment that holds nothing else."""

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.sync.client import connect

from tests.servers import ROOT, Server
from tests.test_readme import README, blocks

pytestmark = [pytest.mark.build, pytest.mark.timeout(300)]

VERSION: Final = "0.1.0"
PACKAGES: Final = ("pondsocket-common", "pondsocket", "pondsocket-asgi")
INSTALL: Final = ROOT / "docs" / "install.md"
UV: Final = os.environ.get("UV", "uv")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command outside this project's environment; its output is the failure's message."""
    env = {
        key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sdists, and the wheels built from those sdists."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--all-packages", "--out-dir", folder)
    return folder


def metadata(dist: Path, package: str) -> Message:
    stem = f"{package.replace('-', '_')}-{VERSION}"
    with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl") as wheel:
        return email.message_from_bytes(wheel.read(f"{stem}.dist-info/METADATA"))


def requirements(dist: Path, package: str) -> list[str]:
    return metadata(dist, package).get_all("Requires-Dist") or []


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the three wheels and what they need.

    Our names are installed without an index and without dependencies, and everything else by
    name: nothing of ours can come from an index, where older packages have the same names.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run(UV, "venv", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    install = (UV, "pip", "install", "--python", python)
    ours = [f"{package}=={VERSION}" for package in PACKAGES]
    run(*install, "--no-index", "--find-links", dist, "--no-deps", *ours)
    others = [
        requirement.partition(";")[0].strip()
        for package in PACKAGES
        for requirement in requirements(dist, package)
        if not requirement.startswith("pondsocket")
    ]
    run(*install, *others)
    run(UV, "pip", "check", "--python", python)
    return python


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the README's first block as `quick_start.py` and its test beside it."""
    folder = tmp_path_factory.mktemp("app")
    first, *others = [code for _, code in blocks(README, "python")]
    (kit,) = [code for code in others if "PondClient" in code]
    (folder / "quick_start.py").write_text(first)
    (test,) = re.findall(r"async def (test_\w+)", kit)
    (folder / "try_it.py").write_text(
        f"import sys\nimport anyio\nfrom quick_start import *\n{kit}\n"
        f"anyio.run({test}, backend=sys.argv[1])\n"
    )
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_metadata_says_what_is_needed(dist: Path, package: str) -> None:
    fields = metadata(dist, package)
    assert (fields["Name"], fields["Version"]) == (package, VERSION)
    assert fields["License-Expression"] == "GPL-3.0-or-later"
    assert fields["License-File"] == "LICENSE"
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["Description-Content-Type"] == "text/markdown"
    ours = [item for item in requirements(dist, package) if item.startswith("pondsocket")]
    below = PACKAGES[: PACKAGES.index(package)][-1:]
    assert ours == [f"{name}=={VERSION}" for name in below]


@pytest.mark.parametrize("package", PACKAGES)
def test_classifiers_name_the_pythons_that_are_tested(dist: Path, package: str) -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = metadata(dist, package).get_all("Classifier") or []
    named = {each.rpartition(" ")[2] for each in classifiers if each.startswith(prefix)}
    (row,) = re.findall(r"^\| Python \| (.*) \|$", INSTALL.read_text(), re.MULTILINE)
    tested = row.partition("not tried")[0].rpartition(".")[0]
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert named == set(re.findall(r"3\.\d+", tested)) == set(re.findall(r"3\.\d+", matrix))


@pytest.mark.parametrize("package", PACKAGES)
def test_archives_hold_the_package_and_no_more(dist: Path, package: str) -> None:
    module = package.replace("-", "_")
    source = ROOT / "packages" / package / "src"
    code = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    code |= {str(path.relative_to(source)) for path in source.rglob("*.lua")}
    code |= {str(path.relative_to(source)) for path in source.glob("*/browser/*")}
    code |= {str(path.relative_to(source)) for path in source.rglob("py.typed")}
    with zipfile.ZipFile(dist / f"{module}-{VERSION}-py3-none-any.whl") as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == code
    with tarfile.open(dist / f"{module}-{VERSION}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    extra = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert names - extra == {f"src/{name}" for name in code}


def test_the_wheels_are_what_is_imported(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.metadata as m, pathlib, sys\n"
        f"for name in {PACKAGES}:\n"
        "    module = __import__(name.replace('-', '_'))\n"
        "    folder = pathlib.Path(module.__file__).parent\n"
        "    print(m.version(name), sys.prefix in str(folder), (folder / 'py.typed').exists())\n"
        "print(module.__version__)"
    )
    output = run(installed, "-W", "error", "-c", code, cwd=tmp_path)
    assert output.split() == [VERSION, "True", "True"] * len(PACKAGES) + [VERSION]


def test_the_client_for_browsers_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    command = (installed, "-W", "error", "-m", "pondsocket_asgi", "client", "--to", "web")
    run(*command, cwd=tmp_path)
    source = ROOT / "packages" / "pondsocket-asgi" / "src" / "pondsocket_asgi" / "browser"
    copied = {path.name: path.read_bytes() for path in (tmp_path / "web").iterdir()}
    assert copied == {path.name: path.read_bytes() for path in source.iterdir()}
    assert "pondsocket.js" in copied
    run(*command, "--check", cwd=tmp_path)


def test_the_quick_start_runs_in_memory(installed: Path, quick_start: Path) -> None:
    run(installed, "-W", "error", "try_it.py", "asyncio", cwd=quick_start)


def test_the_quick_start_runs_on_uvicorn(installed: Path, quick_start: Path) -> None:
    login = {"Authorization": "Bearer secret"}
    with (
        Server("quick_start:app", python=installed, folder=quick_start) as server,
        connect(f"{server.ws_url}/socket", additional_headers=login) as client,
    ):

        def answer(action: str, event: str, payload: dict[str, str]) -> Any:
            message = {"action": action, "event": event, "payload": payload}
            client.send(json.dumps(message | {"channelName": "/chat/1", "requestId": "1"}))
            return json.loads(client.recv(5))

        assert json.loads(client.recv(5))["event"] == "CONNECTION"
        assert answer("JOIN_CHANNEL", "join", {})["event"] == "ACKNOWLEDGE"
        assert json.loads(client.recv(5))["payload"]["presence"] == [{"status": "online"}]
        assert answer("BROADCAST", "message", {"text": "hi"})["payload"] == {"text": "hi"}
        module = HTTPConnection(server.host, server.port, timeout=5)
        module.request("GET", "/pondsocket.js")
        assert b"connect" in module.getresponse().read()
        module.close()
