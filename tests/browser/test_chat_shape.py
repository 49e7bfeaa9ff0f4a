"""How the chat's page looks and is read, in every state of its connection, wide and on a phone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat_window import OpenWindow, Window
from tests.browser.proxies import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

AXE: Final = Path(__file__).parent / "npm" / "node_modules" / "axe-core" / "axe.min.js"
OTHERS: Final = ["Bea Miller", "Cid", "Dora van Dyke", "Émile", "Fatima Al-Sayed", "W" * 24]
# Joins with a connection for each name.
ENTER: Final = """async ([channelName, names]) => {
  const enter = (name) => new Promise((entered) => {
    const query = new URLSearchParams({name, key: `key of ${name}`});
    const socket = new WebSocket(`ws://${location.host}/socket?${query}`, "pond");
    const join = {action: "JOIN_CHANNEL", event: "join", channelName, requestId: "1", payload: {}};
    socket.onopen = () => socket.send(JSON.stringify(join));
    socket.onmessage = ({data}) => JSON.parse(data).event === "ACKNOWLEDGE" && entered(socket);
  });
  window.others = [];
  for (const name of names) window.others.push(await enter(name));
}"""
BOXES: Final = """() => ["header", "header h1", "header .icon:last-child"].map((place) => {
  const {x, y, width, height} = document.querySelector(`#room > ${place}`).getBoundingClientRect();
  return [x, y, width, height];
})"""
TOO_WIDE: Final = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const {left, right, width} = element.getBoundingClientRect();
  return width && (left < 0 || right > innerWidth);
}).map((element) => element.outerHTML.slice(0, 120))"""
CUT_OFF: Final = """() => [...document.querySelectorAll("#room *")].filter((element) =>
  getComputedStyle(element).clipPath === "none" && element.clientWidth
    && element.scrollWidth > element.clientWidth + 1
).map((element) => element.outerHTML.slice(0, 120))"""


@pytest.fixture
def axe() -> str:
    """Return the source of axe, which judges a page."""
    if not AXE.exists():
        pytest.fail("axe is not installed: run `nox -s browser`", pytrace=False)
    return AXE.read_text()


def expect_no_findings(window: Window, axe: str) -> None:
    window.page.evaluate(axe)
    found: dict[str, Any] = window.page.evaluate("axe.run()")
    assert len(found["passes"]) > 10
    assert [
        (rule["id"], node["html"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ] == []


def left_and_right(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"]


@contextmanager
def unplugged(window: Window) -> Iterator[None]:
    window.plug.uncheck()
    expect(window.status).to_contain_text("You pulled the plug.")
    yield
    window.plug.check()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_state_is_readable_and_the_header_stays_where_it_is(
    open_window: OpenWindow, proxy: Proxy, pictures: Path, axe: str, width: int, dark: bool
) -> None:
    bea = open_window().enter("Bea Miller")
    bea.say("Is this thing on?")
    bea.say("I brought cake: https://example.org/cakes?kind=chocolate (really!).")
    ann = open_window(base=proxy.url, width=width, height=740, dark=dark)
    ann.page.emulate_media(reduced_motion="reduce")
    ann.enter("Ann")
    bea.page.evaluate(ENTER, [f"/chat/{ann.room}", OTHERS[1:]])
    expect(ann.people).to_have_count(7)
    boxes = ann.page.evaluate(BOXES)

    def look(state: str) -> None:
        assert ann.page.evaluate(BOXES) == boxes, state
        assert ann.page.evaluate(TOO_WIDE) == [], state
        assert ann.page.evaluate(CUT_OFF) == [], state
        ann.expect_no_sideways_scroll()
        expect_no_findings(ann, axe)
        ann.keep_picture(pictures, f"{width}-{'dark' if dark else 'light'}-{state}")

    ann.say("I came for the cake.")
    bea.say("There is enough for all of us.\nAnd the second line says that it is still warm.")
    bea.message_box.press_sequentially("And")
    expect(ann.page.get_by_text("Bea Miller is typing")).to_be_visible()
    look("connected")
    if width == 360:
        people = ann.page.get_by_role("button", name="People here: 7")
        assert left_and_right(ann.status)[1] <= left_and_right(people)[0]
        people.click()
        look("people")
        ann.page.keyboard.press("Escape")
        expect(ann.people.first).to_be_hidden()

    ann.open_drawer()
    look("drawer")
    with unplugged(ann):
        bea.say("You cannot hear me.")
        bea.say("Nor this.")
        ann.say("I write all the same.")
        look("offline")
    expect(ann.page.locator(".recovered")).to_have_count(2)
    expect(bea.bubble("I write all the same.")).to_have_count(1)
    look("back")
    ann.page.get_by_role("button", name="Connection").click()

    proxy.set_network("cut")
    expect(ann.status).to_contain_text("Retrying")
    bea.say("And again.")
    look("recovering")
    proxy.set_network("deaf")
    expect(ann.status).to_contain_text("Connecting over WebSocket", timeout=30_000)
    look("connecting")
    proxy.set_network("up")
    ann.expect_here("websocket")
    expect(ann.page.locator(".recovered")).to_have_count(3)
    look("recovered")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_form_to_join_is_readable(
    open_window: OpenWindow, pictures: Path, axe: str, width: int, dark: bool
) -> None:
    ann = open_window(width=width, height=740, dark=dark)
    ann.open(name="Ann" * 12, room=ann.room)
    expect(ann.page.get_by_role("alert")).to_contain_text("too long")
    expect_no_findings(ann, axe)
    assert ann.page.evaluate(TOO_WIDE) == []
    ann.keep_picture(pictures, f"{width}-{'dark' if dark else 'light'}-form")


def test_names_are_whole_in_the_sheet_of_a_phone(open_window: OpenWindow) -> None:
    ann = open_window(width=360, height=740).enter("Ann")
    ann.page.evaluate(ENTER, [f"/chat/{ann.room}", OTHERS])
    expect(ann.people).to_have_count(7)
    expect(ann.people.first).to_be_hidden()
    ann.page.get_by_role("button", name="People here: 7").click()
    for number in range(7):
        expect(ann.people.nth(number)).to_be_in_viewport(ratio=1)
    assert ann.page.evaluate(TOO_WIDE) == []
    assert ann.page.evaluate(CUT_OFF) == []
    ann.expect_people("Ann (you)", *OTHERS)
