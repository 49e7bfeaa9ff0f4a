"""Readers of event streams that are no browsers, through a restart and a cut: nothing is lost."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.interop.client_processes import HERE, run
from tests.servers import Server

pytestmark = pytest.mark.interop

NPM = ("eventsource2", "eventsource", "eventsource4", "fetch-event-source")
PYPI = ("httpx-sse", "httpx2", "lines")


@pytest.fixture(scope="module")
def cutting_server() -> Iterator[Server]:
    """Yield a server that drains, and then cuts, under every reader."""
    with Server("tests.interop.cutting_server:app") as server:
        yield server


@pytest.mark.parametrize("reader", NPM)
def test_a_reader_of_npm_loses_nothing(cutting_server: Server, reader: str) -> None:
    node, script = shutil.which("node"), HERE / "npm" / "readers.mjs"
    if node is None or not (script.parent / "node_modules" / "eventsource4").is_dir():
        pytest.fail("The npm readers are not installed: run `nox -s interop`", pytrace=False)
    url = f"{cutting_server.http_url}/socket"
    run([node, str(script), url, f"npm-{reader}", reader], cutting_server)


@pytest.mark.parametrize("reader", PYPI)
def test_a_reader_of_pypi_loses_nothing(cutting_server: Server, reader: str) -> None:
    python = shutil.which(os.environ.get("POND_PYPI_CLIENT_PYTHON", ""))
    if python is None:
        pytest.fail("The PyPI readers are not installed: run `nox -s interop`", pytrace=False)
    url, script = f"{cutting_server.http_url}/socket", HERE / "pypi" / "readers.py"
    run([python, str(script), url, f"pypi-{reader}", reader], cutting_server)
