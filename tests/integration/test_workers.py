"""Several workers without a backplane: real servers, and what they log."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import pytest

from tests.servers import Serve, Server, Setup, comes_true

pytestmark = [pytest.mark.servers, pytest.mark.timeout(90)]

APP: Final = "tests.integration.workers_app:app"
TOLD: Final = "Another process serves the same endpoints"
SEVERAL: Final = (
    Setup("uvicorn-2", "uvicorn", ("--workers", "2")),
    Setup("gunicorn-2", "gunicorn", ("--workers", "2")),
    Setup("granian-2", "granian", ("--workers", "2")),
    Setup("hypercorn-2", "hypercorn", ("--workers", "2", "--error-logfile", "-")),
)
ONE: Final = (
    Setup("uvicorn-1", "uvicorn"),
    Setup("gunicorn-1", "gunicorn", ("--workers", "1")),
    Setup("granian-1", "granian", ("--workers", "1")),
    Setup("hypercorn-1", "hypercorn", ("--workers", "1", "--error-logfile", "-")),
)


def ask(server: Server) -> None:
    """Send many requests at once, so that each worker gets some."""

    def post(_: int) -> None:
        connection = HTTPConnection(server.host, server.port, timeout=5)
        headers = {"Content-Type": "application/json", "X-Connection-ID": "unknown"}
        try:
            connection.request("POST", "/socket", body=b"{}", headers=headers)
            connection.getresponse().read()
        except (OSError, HTTPException):
            pass  # it is starting again
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(post, range(64)))


def asked_until(server: Server, condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until a condition is true."""

    def ask_and_look() -> bool:
        ask(server)
        time.sleep(0.2)
        return condition()

    return comes_true(ask_and_look, seconds)


@pytest.mark.parametrize("setup", SEVERAL, ids=str)
def test_several_workers_are_told_what_to_write(serve: Serve, setup: Setup) -> None:
    server = serve(APP, *setup.arguments, server=setup.server)
    assert asked_until(server, lambda: TOLD in server.log(), 30), server.log()
    assert 'PondSocket(backplane=RedisBackplane("redis://…"))' in server.log()
    unknown = "A client has posted to an event stream that this process does not have"
    assert asked_until(server, lambda: unknown in server.log(), 30), server.log()
    asked_until(server, lambda: False, 2)
    assert server.log().count(TOLD) == 1
    assert server.log().count(unknown) == 1


@pytest.mark.parametrize("setup", ONE, ids=str)
def test_one_worker_says_nothing(serve: Serve, setup: Setup) -> None:
    server = serve(APP, *setup.arguments, server=setup.server)
    asked_until(server, lambda: False, 4)
    assert TOLD not in server.log()


def test_a_server_that_starts_again_says_nothing(serve: Serve) -> None:
    server = serve(APP)
    for _ in range(2):
        asked_until(server, lambda: False, 2)
        server.restart()
    asked_until(server, lambda: False, 3)
    assert TOLD not in server.log()


def test_a_server_that_reloads_says_nothing(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "workers_app.py").read_text()
    (tmp_path / "reloaded.py").write_text(source)
    with Server("reloaded:app", "--reload", folder=tmp_path) as server:
        asked_until(server, lambda: False, 1)
        (tmp_path / "reloaded.py").write_text(source + "\n# changed\n")
        assert comes_true(lambda: server.log().count("Started server process") == 2, 20)
        asked_until(server, lambda: False, 4)
        assert TOLD not in server.log()
