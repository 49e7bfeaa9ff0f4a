"""A new version of the chat goes out while people are in it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import expect

from tests.browser.chat_window import WORDS, OpenWindow, Window
from tests.browser.demo import Demo
from tests.browser.ending_stream_app import AWAY_MS
from tests.servers import Serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

RESTARTING: Final = "The server restarts, back in a moment."
# Keeps whatever the status line says from here on.
RECORD: Final = """() => {
    const status = document.querySelector("#status");
    window.said = [];
    new MutationObserver(() => window.said.push(status.textContent))
        .observe(status, {childList: true, characterData: true, subtree: true});
}"""


@pytest.fixture
def demo() -> Iterator[Demo]:
    with Demo() as demo:
        yield demo


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_restart_loses_no_client(
    open_window: OpenWindow, demo: Demo, pictures: Path, dark: bool
) -> None:
    ann = open_window(base=demo.url, dark=dark).enter("Ann", "websocket")
    bea = open_window(base=demo.url, width=360, dark=dark).enter("Bea", "sse")
    ann.say("Before.")
    expect(bea.bubble("Before.")).to_have_count(1)
    for window in (ann, bea):
        window.page.evaluate(RECORD)

    demo.signal(signal.SIGTERM)
    took = demo.expect_end()
    assert took < 3, f"the demo took {took:.1f} s to end"
    for window in (ann, bea):
        expect(window.status).to_have_text(f"{RESTARTING} Retrying")
        window.expect_no_sideways_scroll()
        size = "desktop" if window is ann else "phone"
        window.keep_picture(pictures, f"{size}-restart{'-dark' if dark else ''}")
    demo.start()

    for window, via in ((ann, "websocket"), (bea, "sse")):
        window.expect_here(via)
        # What was said before the end is with the process that ended.
        expect(window.log).to_contain_text("You are back. Some messages may be missing.")
        assert said(window) <= friendly(via)
        assert " left." not in window.log.inner_text()
    ann.expect_people("Ann (you)", "Bea")
    bea.expect_people("Bea (you)", "Ann")
    bea.say("After.")
    expect(ann.bubble("After.")).to_have_count(1)
    ann.say("And after that.")
    expect(bea.bubble("And after that.")).to_have_count(1)


def test_what_is_written_during_a_restart_arrives(open_window: OpenWindow, demo: Demo) -> None:
    ann = open_window(base=demo.url).enter("Ann", "websocket")
    bea = open_window(base=demo.url).enter("Bea", "sse")
    demo.signal(signal.SIGTERM)
    for window in (ann, bea):
        expect(window.status).to_contain_text(RESTARTING)
        window.say("Written in between.")
    demo.expect_end()
    demo.start()
    for window, via in ((ann, "websocket"), (bea, "sse")):
        window.expect_here(via)
    for window in (ann, bea):
        expect(window.bubble("Written in between.").first).to_be_visible()
        expect(window.page.get_by_text("Waits for the connection")).to_have_count(0)
        expect(window.page.get_by_text("Not sent")).to_have_count(0)


def test_an_interrupt_ends_the_demo_at_once_although_windows_are_open(
    open_window: OpenWindow, demo: Demo
) -> None:
    open_window(base=demo.url).enter("Ann", "websocket")
    open_window(base=demo.url).enter("Bea", "sse")
    demo.signal(signal.SIGINT)
    took = demo.expect_end()
    assert took < 2, f"the demo took {took:.1f} s to end"


def test_an_event_stream_says_how_long_to_stay_away(open_window: OpenWindow, serve: Serve) -> None:
    ann = open_window(base=serve("tests.browser.ending_stream_app:app").http_url)
    ann.open(name="Ann", room=ann.room, via="sse")
    expect(ann.page.get_by_text(f"in {AWAY_MS // 1000} s")).to_be_visible()
    expect(ann.log).to_contain_text("Connection lost.")
    ann.page.get_by_role("button", name="Try now").click()
    expect(ann.page.get_by_text(f"in {AWAY_MS // 1000} s")).to_be_visible()


def said(window: Window) -> set[str]:
    return set(window.page.evaluate("window.said"))


def friendly(via: str) -> set[str]:
    """All that the status line may say while a server restarts."""
    words = WORDS[via]
    return {
        RESTARTING,
        f"{RESTARTING} Retrying",
        f"Connecting over {words}\N{HORIZONTAL ELLIPSIS}",
        "Joining the room\N{HORIZONTAL ELLIPSIS}",
        f"Connected over {words}",
    }
