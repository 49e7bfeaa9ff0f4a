"""The site in Chromium: no page is wider than a phone, the search finds, and dark is dark."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.servers import ROOT

PHONE: Final = 360
DESKTOP: Final = 1280
PICTURED: Final = {"index.html", "tutorial.html", "api/pondsocket.html", "troubleshooting.html"}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.site", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(browser: Browser, width: int, *, is_dark: bool = False) -> Page:

    context = browser.new_context(
        viewport={"width": width, "height": 740}, color_scheme="dark" if is_dark else "light"
    )
    return context.new_page()


def test_no_page_is_wider_than_the_screen(
    browser: Browser, site: Path, address: str, pictures: Path
) -> None:
    page = opened(browser, DESKTOP)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    wide = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        page.goto(f"{address}/{name}", wait_until="domcontentloaded")
        for width in (DESKTOP, PHONE):
            page.set_viewport_size({"width": width, "height": 740})
            needed = page.evaluate("document.documentElement.scrollWidth")
            if needed > width:
                wide[name] = needed
            if name in PICTURED:
                picture = f"site-{name.removesuffix('.html').replace('/', '-')}-{width}.png"
                page.screenshot(path=pictures / picture)
    assert wide == {}
    assert errors == []
    page.context.close()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_search_finds_a_name_and_a_subject(browser: Browser, address: str, width: int) -> None:
    page = opened(browser, width)
    for words, link in [("evict_user", "evict_user"), ("several lobbies", "Recipes")]:
        page.goto(f"{address}/index.html")
        if width == PHONE:
            page.locator("label[for=__navigation].nav-overlay-icon").first.click()
        box = page.locator("input[name=q]")
        box.fill(words)
        box.press("Enter")
        expect(page.locator("#search-results")).to_contain_text(link)
    page.context.close()


def test_dark_is_dark_and_can_be_switched(browser: Browser, address: str, pictures: Path) -> None:
    page = opened(browser, PHONE, is_dark=True)
    page.goto(f"{address}/tutorial.html")
    assert brightness(page) < 60
    page.screenshot(path=pictures / "site-tutorial-dark.png")
    toggle = page.locator("button.theme-toggle:visible").first
    shades = []
    for _ in range(3):  # by the system, light, dark
        toggle.click()
        shades.append(brightness(page) < 60)
    assert sorted(shades) == [False, True, True]
    page.context.close()


def brightness(page: Page) -> int:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(int(number) for number in re.findall(r"\d+", colour)[:3])
