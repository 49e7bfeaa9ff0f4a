"""The network goes away for some seconds while the others go on talking."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import expect

from tests.browser.chat_window import OpenWindow, Window
from tests.browser.demo import Demo
from tests.browser.network_outages import cut_off, talk
from tests.browser.proxies import Network, Proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

BOTH = pytest.mark.parametrize("via", ["websocket", "sse"])
AWAY_SECONDS: Final = 5.0
MISSING: Final = "Some messages may be missing."


def watch_people(window: Window) -> None:
    """Keep whatever the list of people says from here on."""
    window.page.evaluate("""() => {
        const people = document.querySelector("#people");
        window.listed = [people.innerText];
        new MutationObserver(() => window.listed.push(people.innerText))
            .observe(people, {childList: true});
    }""")


def placeholder(window: Window) -> str:
    """Return what an empty log says."""
    said: str = window.log.evaluate(
        "log => getComputedStyle(log.querySelector('ol'), '::before').content"
    )
    return said


def rejoins(window: Window) -> list[dict[str, Any] | None]:
    """Return the positions with which the room is joined from now on, over either transport."""
    positions: list[dict[str, Any] | None] = []

    def note(text: str | bytes | None) -> None:
        sent = json.loads(text or "[]")
        messages = sent if isinstance(sent, list) else [sent]
        positions.extend(
            message.get("since") for message in messages if message["action"] == "JOIN_CHANNEL"
        )

    window.page.on("request", lambda request: note(request.post_data))
    window.page.on("websocket", lambda socket: socket.on("framesent", note))
    return positions


@BOTH
@pytest.mark.parametrize("network", ["cut", "deaf"])
def test_what_is_said_while_the_network_is_away_appears_once_and_in_order(
    open_window: OpenWindow, proxy: Proxy, via: str, network: Network
) -> None:
    ann = open_window(base=proxy.url).enter("Ann", via)
    bea = open_window().enter("Bea", "sse" if via == "websocket" else "websocket")
    bea.say("Before.")
    expect(ann.texts).to_have_text(["Before."])
    bea.expect_people("Bea (you)", "Ann")
    watch_people(bea)
    positions = rejoins(ann)

    with cut_off(ann, proxy, network):
        said = talk(bea, AWAY_SECONDS)
        if network == "cut":
            expect(ann.status).to_contain_text("Retrying")
        assert len(said) > 3
        expect(ann.texts).to_have_text(["Before."])
    ann.expect_here(via)
    bea.say("After.")
    expect(ann.texts).to_have_text(["Before.", *said, "After."])
    expect(ann.log.locator(".note").last).to_have_text("You are back.")
    expect(ann.page.get_by_text(MISSING)).to_have_count(0)
    ann.expect_people("Ann (you)", "Bea")

    # To the others, the window was never away.
    assert set(bea.page.evaluate("window.listed")) == {"Bea (you)\nAnn"}
    assert bea.log.locator(".note").count() == 0
    assert positions
    assert all(positions)


@BOTH
def test_what_is_written_while_the_network_is_away_arrives_once(
    open_window: OpenWindow, proxy: Proxy, via: str
) -> None:
    ann = open_window(base=proxy.url).enter("Ann", via)
    bea = open_window().enter("Bea", "websocket")
    with cut_off(ann, proxy, "deaf"):
        ann.say("Into the void.")
        talk(bea, 1.0)
    ann.expect_here(via)
    expect(ann.bubble("Into the void.")).to_have_count(1)
    expect(bea.bubble("Into the void.")).to_have_count(1)
    expect(ann.page.get_by_text("Sending")).to_have_count(0)


@BOTH
def test_another_transport_goes_on_where_the_first_one_ended(
    open_window: OpenWindow, proxy: Proxy, via: str
) -> None:
    other = "sse" if via == "websocket" else "websocket"
    ann = open_window(base=proxy.url).enter("Ann", via)
    bea = open_window().enter("Bea", via)
    bea.say("Before.")
    expect(ann.texts).to_have_text(["Before."])
    with cut_off(ann, proxy):
        ann.choose(other)
        first = talk(bea, 1.0)
    ann.expect_here(other)
    expect(ann.texts).to_have_text(["Before.", *first])
    ann.switch(via)
    ann.switch(other)
    bea.say("After.")
    expect(ann.texts).to_have_text(["Before.", *first, "After."])
    expect(ann.page.get_by_text(MISSING)).to_have_count(0)


@BOTH
def test_without_history_the_page_says_that_messages_may_be_missing(
    open_window: OpenWindow, pictures: Path, via: str
) -> None:
    with Demo("--no-history") as demo, Proxy(demo, "pass") as proxy:
        width, is_dark = (360, True) if via == "sse" else (1000, False)
        ann = open_window(base=proxy.url, width=width, dark=is_dark).enter("Ann", via)
        bea = open_window(base=demo.url).enter("Bea", via)
        bea.say("Before.")
        expect(ann.texts).to_have_text(["Before."])
        with cut_off(ann, proxy):
            talk(bea, AWAY_SECONDS)
            expect(ann.status).to_contain_text("Retrying")
        ann.expect_here(via)
        expect(ann.log.get_by_text(f"You are back. {MISSING}")).to_have_count(1)
        bea.say("After.")
        expect(ann.texts).to_have_text(["Before.", "After."])
        expect(ann.page.get_by_text(MISSING)).to_have_count(1)
        expect(bea.page.get_by_text(MISSING)).to_have_count(0)
        ann.expect_no_sideways_scroll()
        ann.keep_picture(pictures, "phone-missing-dark" if is_dark else "desktop-missing")


def test_who_comes_later_sees_what_was_said_last(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    assert placeholder(ann) == '"Nothing has been said here yet."'
    for number in range(25):
        ann.say(f"number {number}")
    expect(ann.texts).to_have_count(25)
    for via in ("websocket", "sse"):
        bea = open_window().enter("Bea", via)
        texts = bea.earlier.locator(".text")
        expect(texts).to_have_text([f"number {number}" for number in range(5, 25)])
        assert placeholder(bea) == "none"
        expect(bea.texts).to_have_count(0)
        bea.page.close()
    cleo = open_window().enter("Cleo")
    ann.say("Welcome.")
    expect(cleo.texts).to_have_text(["Welcome."])
    expect(ann.page.get_by_role("heading", name="Earlier in this room")).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_a_return_looks_like(
    open_window: OpenWindow, proxy: Proxy, pictures: Path, dark: bool
) -> None:
    bea = open_window().enter("Bea")
    bea.say("Is this thing on?")
    bea.say("I brought cake.")
    for size, (width, height) in {"desktop": (1000, 640), "phone": (360, 640)}.items():
        ann = open_window(base=proxy.url, width=width, height=height, dark=dark)
        ann.enter("Ann", "sse" if size == "phone" else "websocket")
        ann.say("I came for the cake.")
        expect(ann.texts).to_have_text(["I came for the cake."])
        with cut_off(ann, proxy):
            bea.say(f"It is on the {size}.")
            bea.say("Hello? Ann?")
            expect(ann.status).to_contain_text("Retrying")
            expect(bea.page.get_by_text("Sending")).to_have_count(0)
        ann.expect_here("sse" if size == "phone" else "websocket")
        texts = ["I came for the cake.", f"It is on the {size}.", "Hello? Ann?"]
        expect(ann.texts).to_have_text(texts)
        expect(ann.earlier).to_contain_text("I brought cake.")
        ann.expect_no_sideways_scroll()
        ann.keep_picture(pictures, f"{size}-back{'-dark' if dark else ''}")
        ann.page.locator("#scroll").evaluate("scroll => scroll.scrollTop = -scroll.scrollHeight")
        expect(ann.page.get_by_role("heading", name=re.compile("^Earlier"))).to_be_in_viewport()
        ann.keep_picture(pictures, f"{size}-earlier{'-dark' if dark else ''}")
        ann.page.get_by_role("link", name="Leave").click()
