"""What the README and docs/ show of pages works, to the letter, with the servers they show."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.client_window import BACK_SECONDS
from tests.servers import ROOT, Server, comes_true
from tests.test_readme import README, blocks

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]


# A host that serves a page, or an empty one, and an app below `/ws`.
HOST = """
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

page = HTMLResponse(Path("index.html").read_text())
site = Starlette(routes=[Route("/", lambda request: page), Mount("/ws", app)])
"""


def shown(page: str, *languages: str) -> list[str]:
    return [code for _, code in blocks((ROOT / "docs" / page).read_text(), *languages)]


@contextmanager
def open_page(browser: Browser, url: str) -> Iterator[tuple[Page, list[str]]]:
    """Yield a page, and what it has written to the console; it may raise no error."""
    page, written, errors = browser.new_page(), [], []
    page.on("console", lambda message: written.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    yield page, written
    page.close()
    assert errors == []


def comes(page: Page, written: list[str], line: str) -> bool:
    """Whether a line is written to the console in time."""

    def is_written() -> bool:
        page.wait_for_timeout(20)
        return line in written

    return comes_true(is_written, 10)


def test_two_people_talk_by_the_page_of_the_readme(browser: Browser, tmp_path: Path) -> None:
    quick_start, host, *_ = [code for _, code in blocks(README, "python")]
    ((_, page),) = blocks(README, "html")
    (tmp_path / "module.py").write_text(f"{quick_start}\n{host}")
    (tmp_path / "index.html").write_text(page)
    errors: list[str] = []
    with Server("module:site", folder=tmp_path) as server:
        windows = [browser.new_page(), browser.new_page()]
        for window in windows:
            window.on("pageerror", lambda error: errors.append(str(error)))
            window.goto(server.http_url)
        ann, bob = windows
        for window in windows:
            expect(window.locator("p")).to_have_text("Here now: 2 (open)")
        ann.get_by_label("Message").fill("Hello, Bob")
        ann.get_by_role("button", name="Say").click()
        bob.get_by_label("Message").fill("Hello, <b>Ann</b>")
        expect(bob.locator("li")).to_have_text(["Hello, Bob"])
        bob.get_by_label("Message").press("Enter")
        for window in windows:
            expect(window.locator("li")).to_have_text(["Hello, Bob", "Hello, <b>Ann</b>"])
            expect(window.get_by_label("Message")).to_have_value("")

        server.restart()
        for window in windows:
            here = "Here now: 2 (open)"
            expect(window.locator("p")).to_have_text(here, timeout=BACK_SECONDS * 1_000)
        bob.get_by_label("Message").fill("Still here?")
        bob.get_by_label("Message").press("Enter")
        expect(ann.locator("li").last).to_have_text("Still here?")
        bob.close()
        expect(ann.locator("p")).to_have_text("Here now: 1 (open)")
        ann.close()
    assert errors == []


def test_the_script_tag_of_the_documentation_works(browser: Browser, tmp_path: Path) -> None:
    app, *_ = shown("browser.md", "python")
    (html,) = shown("browser.md", "html")
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "module.py").write_text(app + HOST)
    with (
        Server("module:site", folder=tmp_path) as server,
        open_page(browser, server.http_url) as (page, written),
    ):
        assert comes(page, written, "hi")
        assert "[Ann]" in written


def test_an_event_source_needs_no_client(browser: Browser, tmp_path: Path) -> None:
    app, *_ = shown("browser.md", "python")
    (script,) = [code for code in shown("browser.md", "js") if "EventSource" in code]
    (tmp_path / "index.html").write_text(f"<script>{script}</script>")
    (tmp_path / "module.py").write_text(app + HOST)
    with (
        Server("module:site", folder=tmp_path) as server,
        open_page(browser, server.http_url) as (page, written),
    ):
        page.wait_for_function("connectionId !== undefined")
        page.evaluate("send({action: 'BROADCAST', event: 'say', payload: {text: 'hello'}})")
        assert comes(page, written, "hello")
