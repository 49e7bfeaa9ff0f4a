"""The drawer and the plug, links, days, the typing sign, and what is unread."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat_window import OpenWindow, Window
from tests.browser.test_connection import PlayedServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

BOTH = pytest.mark.parametrize("via", ["websocket", "sse"])
HIDE: Final = """(isHidden) => {
  Object.defineProperty(document, "hidden", {configurable: true, get: () => isHidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def fact(window: Window, name: str) -> Locator:
    """Return what the drawer says of the connection."""
    return window.drawer.locator(f"div:has(> dt:text-is('{name}')) dd")


@BOTH
def test_pulling_the_plug_shows_how_missed_messages_come_back_in_order(
    open_window: OpenWindow, pictures: Path, via: str
) -> None:
    ann = open_window(width=1280).enter("Ann", via)
    bea = open_window().enter("Bea")
    bea.say("Before.")
    expect(ann.texts).to_have_text(["Before."])
    ann.open_drawer()
    expect(fact(ann, "Recovered messages")).to_have_text("0")
    expect(ann.page.get_by_text("Pull the plug")).to_be_visible()
    ann.plug.uncheck()
    expect(ann.status).to_have_text("You pulled the plug. What you miss comes back, in order.")
    expect(ann.people).to_have_count(0)
    missed = [f"Missed {number}." for number in range(5)]
    for text in missed:
        bea.say(text)
    ann.say("Written meanwhile.")
    expect(ann.page.get_by_text("Waits for the connection")).to_be_visible()
    expect(bea.texts).to_have_count(6)
    expect(ann.texts).to_have_text(["Before."])

    expect(ann.page.get_by_text("Plug it in")).to_be_visible()
    ann.plug.check()
    ann.expect_here(via)
    expect(ann.texts).to_have_text(["Before.", *missed, "Written meanwhile."])
    expect(ann.log.locator(".recovered .text")).to_have_text(missed)
    expect(fact(ann, "Recovered messages")).to_have_text("5")
    expect(fact(ann, "Position")).to_have_text(re.compile("^7 in "))
    expect(ann.log).to_contain_text("You are back.")
    came = [f"BROADCAST message #{number}" for number in range(2, 7)]
    shown = ann.frames.locator("summary span").all_inner_texts()
    first = shown.index(came[0])
    assert "SYSTEM ACKNOWLEDGE" in shown[first - 2 : first]  # with the message that had waited
    assert shown[first : first + 5] == came
    expect(bea.texts).to_have_count(7)
    assert "Ann left." not in bea.log.inner_text()
    ann.keep_picture(pictures, f"plug-{via}")


@BOTH
def test_the_drawer_shows_every_frame_and_no_secret(open_window: OpenWindow, via: str) -> None:
    ann = open_window().enter("Ann", via)
    ann.open_drawer()
    ann.expect_chosen(via)
    ann.say("Hello.")
    names = ann.frames.locator("summary span")
    expect(names.filter(has_text="BROADCAST message #1")).to_have_count(1)
    begin = ["CONNECT CONNECTION", "JOIN_CHANNEL join", "SYSTEM ACKNOWLEDGE"]
    assert names.all_inner_texts()[:3] == begin
    classes = [line.get_attribute("class") for line in ann.frames.all()[:3]]
    assert classes == ["in", "out", "in"]
    sent = ann.frames.filter(has=ann.page.get_by_text("BROADCAST message", exact=True))
    sent.last.locator("summary").click()
    expect(sent.last.locator("pre")).to_contain_text('"text": "Hello."')
    ann.frames.first.locator("summary").click()
    expect(ann.frames.first.locator("pre")).to_contain_text('"connectionId": "(secret)"')
    expect(fact(ann, "Latency")).to_have_text(re.compile(r"^\d+\.\d ms$"))
    expect(fact(ann, "Position")).to_have_text(re.compile(r"^1 in \S{8}$"))


def test_addresses_are_links_that_can_do_no_harm(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    bea = open_window().enter("Bea")
    bea.say(
        "See https://example.org/a?b=c&d=%3Ce, (http://example.com/x) and <https://example.net>!\n"
        "Not javascript:alert(1), data:text/html,x, //example.org, ftp://example.org, http://[,\n"
        "https://bank.example@evil.example/ or https://example.org/\u202egpj.exe"
    )
    links = ann.log.get_by_role("link")
    addresses = [
        "https://example.org/a?b=c&d=%3Ce",
        "http://example.com/x",
        "https://example.net",
        "https://example.org/",
    ]
    expect(links).to_have_text(addresses)
    for link, address in zip(links.all(), addresses, strict=True):
        href = link.evaluate("link => link.href")
        assert href.rstrip("/") == address.rstrip("/")
        assert link.get_attribute("rel") == "noopener noreferrer"
        assert link.get_attribute("target") == "_blank"
    bea.say('https://example.org/"onmouseover="window.broken=1')
    expect(ann.log.get_by_role("link")).to_have_count(5)
    assert ann.log.locator("[onmouseover]").count() == 0


def test_the_page_lets_no_inline_script_run(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    refused: list[str] = []
    ann.page.on("console", lambda message: refused.append(message.text))
    ann.page.evaluate("""() => {
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.broken = 1'>");
        const script = document.createElement("script");
        script.textContent = "window.broken = 2";
        document.body.append(script);
    }""")
    ann.say("Still here.")
    expect(ann.bubble("Still here.")).to_have_count(1)
    assert ann.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in text for text in refused)


def test_days_are_separated(open_window: OpenWindow) -> None:
    ann = open_window()
    ann.page.clock.install(time=datetime(2026, 3, 5, 12, tzinfo=UTC))
    played = PlayedServer(ann)
    ann.enter("Ann")
    times = {
        "one": "2025-12-31T11:00:00Z",
        "two": "2025-12-31T11:01:00Z",
        "three": "2026-03-04T12:00:00Z",
        "four": "2026-03-05T11:00:00Z",
    }
    for key, time in times.items():
        played.say(key, key, time)
    expect(ann.texts).to_have_count(4)
    lines = [
        " ".join(line.replace(",", "").split())
        for line in ann.log.get_by_role("listitem").all_inner_texts()
    ]
    assert lines == [
        "Wednesday 31 December 2025",
        "Bea 11:00 one",
        "Bea 11:01 two",
        "Yesterday",
        "Bea 12:00 three",
        "Today",
        "Bea 11:00 four",
    ]


def test_messages_of_one_author_are_one_group(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    bea = open_window().enter("Bea")
    for speaker, text in [(bea, "1"), (bea, "2"), (ann, "3"), (ann, "4"), (bea, "5")]:
        speaker.say(text)
        expect(ann.bubble(text)).to_have_count(1)
    expect(ann.log.locator(".same .text")).to_have_text(["2", "4"])
    expect(ann.log.locator(".mine .text")).to_have_text(["3", "4"])
    face = ann.log.locator(".line").filter(has_text="1").first
    assert face.get_attribute("data-face") == "B"


@BOTH
def test_the_others_see_that_one_types(open_window: OpenWindow, via: str) -> None:
    ann = open_window().enter("Ann", via)
    bea = open_window().enter("Bea", via)
    bea.message_box.press_sequentially("Hm")
    typing = ann.page.locator("#typing")
    expect(typing).to_have_text("Bea is typing")
    bea.message_box.press("Enter")
    expect(ann.bubble("Hm")).to_have_count(1)
    expect(typing).to_have_text("")
    bea.message_box.press_sequentially("Never mind")
    expect(typing).to_have_text("Bea is typing")
    expect(typing).to_have_text("")
    expect(bea.page.locator("#typing")).to_have_text("")
    # It is not kept.
    cid = open_window().enter("Cid", via)
    expect(cid.earlier.locator(".text")).to_have_text(["Hm"])
    ann.open_drawer()
    expect(fact(ann, "Position")).to_have_text(re.compile("^1 in "))


def test_what_came_while_the_page_was_hidden_is_marked(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    bea = open_window().enter("Bea")
    bea.say("Seen.")
    expect(ann.bubble("Seen.")).to_have_count(1)
    expect(ann.page).to_have_title(f"{ann.room} · Pond chat")
    ann.page.evaluate(HIDE, True)
    for text in ("Unseen.", "Unseen, too."):
        bea.say(text)
    expect(ann.page).to_have_title(f"(2) {ann.room} · Pond chat")
    lines = ann.log.get_by_role("listitem")
    expect(lines.nth(-3)).to_have_text("New")
    ann.page.evaluate(HIDE, False)
    expect(ann.page).to_have_title(f"{ann.room} · Pond chat")
    expect(lines.nth(-3)).to_have_text("New")  # where one goes on reading
    bea.say("Seen again.")
    expect(ann.bubble("Seen again.")).to_have_count(1)
    expect(lines.filter(has_text=re.compile("^New$"))).to_have_count(1)


def test_what_came_below_the_view_is_counted(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    bea = open_window().enter("Bea")
    for number in range(30):
        ann.say(f"number {number}")
    expect(ann.bubble("number 29")).to_be_in_viewport()
    ann.bubble("number 0").scroll_into_view_if_needed()
    for text in ("One.", "Two."):
        bea.say(text)
    newer = ann.page.get_by_role("button", name="New messages: 2")
    expect(newer).to_be_visible()
    expect(ann.bubble("number 0")).to_be_in_viewport()
    expect(ann.page).to_have_title(f"(2) {ann.room} · Pond chat")
    newer.click()
    expect(ann.bubble("Two.")).to_be_in_viewport()
    expect(ann.page).to_have_title(f"{ann.room} · Pond chat")
