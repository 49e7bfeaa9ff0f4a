"""The tutorial's page in Chromium, with the files that the tutorial has made."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.newcomer import files_of
from tests.servers import ROOT, Server

pytestmark = pytest.mark.browser


def window_of(browser: Browser, url: str, name: str) -> Page:
    page = browser.new_context().new_page()
    page.on("dialog", lambda dialog: dialog.accept(name))
    page.goto(url)
    return page


def test_what_ann_says_is_seen_in_both_windows(browser: Browser, tmp_path: Path) -> None:
    for name, text in files_of((ROOT / "docs" / "tutorial.md").read_text()).items():
        (tmp_path / name).write_text(text)
    with Server("main:app", folder=tmp_path) as server:
        say_in_both(browser, f"http://{server.host}:{server.port}")


def say_in_both(browser: Browser, url: str) -> None:
    ann, bob = (window_of(browser, url, name) for name in ("Ann", "Bob"))
    for page in (ann, bob):
        expect(page.locator("#text")).to_be_visible()
    bob.locator("#text").fill("here")
    bob.locator("button").click()
    expect(bob.locator("#lines")).to_have_text("Bob: here")  # its join was accepted
    ann.locator("#text").fill("<b>hi</b>")
    ann.locator("button").click()
    for page in (ann, bob):
        expect(page.locator("#lines li").last).to_have_text("Ann: <b>hi</b>")
        page.context.close()
