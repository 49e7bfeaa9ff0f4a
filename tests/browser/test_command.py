"""`python examples/chat.py` as a person starts it, without a browser."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.browser.demo import COMMAND

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def chat() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def test_it_says_where_it_is_and_serves_the_page(chat: subprocess.Popen[str]) -> None:
    page = httpx.get(address(chat))
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Pond chat</title>" in page.text


def test_it_ends_soon_although_a_stream_is_open(chat: subprocess.Popen[str]) -> None:
    accept = {"accept": "text/event-stream"}
    with httpx.stream("GET", f"{address(chat)}/socket?name=Ann", headers=accept) as stream:
        lines = stream.iter_lines()
        assert any("CONNECTION" in line for line in lines)
        chat.send_signal(signal.SIGINT)
        _, problems = chat.communicate(timeout=10)
    assert problems == ""
    assert chat.returncode == 0


def test_a_busy_port_is_one_sentence_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False
        )
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"Port {port} is in use. Stop what uses it, or choose another")


def address(chat: subprocess.Popen[str]) -> str:
    assert chat.stdout is not None
    line = chat.stdout.readline()
    found = re.fullmatch(r"The chat is at (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    return found[1]
