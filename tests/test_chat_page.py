"""The files of the chat's page: small, and without anything that a browser would have to trust.

And what its server does besides.
"""

import gc
import re

from pondsocket_asgi.testing import ASGITestDriver

from examples.chat import PAGE, create_app
from tests.servers import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("chat*.js"))


def code_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not re.fullmatch(r"\s*(//.*)?", line)]


def test_the_script_is_short() -> None:
    lines = [line for path in SCRIPTS for line in code_lines(path.read_text())]
    assert 100 < len(lines) <= 250
    assert max(map(len, lines)) <= 120


def test_all_files_are_served_and_nothing_is_inline() -> None:
    assert set(PAGE) == {"/", "/chat.css", *(f"/{path.name}" for path in SCRIPTS)}
    page = (EXAMPLES / "chat.html").read_text()
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="chat.js">']
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []


def test_text_reaches_the_page_only_as_text() -> None:
    lines = [line for path in SCRIPTS for line in code_lines(path.read_text())]
    assert re.findall(r"\w*HTML\w*|\beval\b|document\.write|srcdoc", "".join(lines)) == []


async def test_its_process_freezes_what_lives_long_and_restores_the_collector() -> None:
    before = gc.get_threshold()
    lifespan = await ASGITestDriver(create_app(None)).open_lifespan()
    await lifespan.startup()
    assert gc.get_threshold() != before
    await lifespan.shutdown()
    assert gc.get_threshold() == before
