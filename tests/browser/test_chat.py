"""The chat in real windows: two people, two transports, and a server that goes away."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from examples.chat import AWAY_SECONDS
from tests.browser.chat_window import OpenWindow, Window
from tests.servers import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

BOTH = pytest.mark.parametrize("via", ["websocket", "sse"])


def expect_both_there(ann: Window, bea: Window) -> None:
    ann.expect_people("Ann (you)", "Bea")
    bea.expect_people("Bea (you)", "Ann")


def say_and_expect(speaker: Window, listener: Window, text: str) -> None:
    """Say something in one window, and expect it once in the other."""
    speaker.say(text)
    expect(listener.bubble(text)).to_have_count(1)


def test_windows_on_both_transports_talk_and_see_each_other(
    open_window: OpenWindow, pictures: Path
) -> None:
    ann = open_window().enter("Ann", "websocket", room="lobby")
    bea = open_window(dark=True).enter("Bea", "sse", room="lobby")
    expect_both_there(ann, bea)
    expect(ann.log).to_contain_text("Bea is here.")

    say_and_expect(ann, bea, "Hello Bea! I am on a WebSocket.")
    say_and_expect(bea, ann, "Hello Ann! Mine are server-sent events.")
    expect(bea.bubble("Hello Ann! Mine are server-sent events.")).to_have_count(1)
    bea.say("One can hardly tell.\nAnd a message may have two lines.")
    expect(ann.log).to_contain_text("two lines")
    ann.keep_picture(pictures, "two-windows-ann-websocket")
    bea.keep_picture(pictures, "two-windows-bea-sse-dark")


def test_people_in_different_rooms_do_not_hear_each_other(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    bea = open_window().enter("Bea", room="100% café?")
    bea.say("Is this on?")
    expect(bea.bubble("Is this on?")).to_have_count(1)
    ann.say("Just us.")
    expect(ann.bubble("Just us.")).to_have_count(1)
    ann.expect_people("Ann (you)")
    bea.expect_people("Bea (you)")
    assert "Is this on" not in ann.log.inner_text()


@BOTH
def test_closing_a_window_removes_its_person_from_the_other(
    open_window: OpenWindow, via: str
) -> None:
    ann = open_window().enter("Ann", "sse" if via == "websocket" else "websocket")
    bea = open_window().enter("Bea", via)
    ann.expect_people("Ann (you)", "Bea")
    bea.page.close()
    # She might have been about to come back.
    ann.expect_people("Ann (you)", within=2 * AWAY_SECONDS)
    expect(ann.log).to_contain_text("Bea left.")


@BOTH
def test_who_leaves_is_gone_at_once(open_window: OpenWindow, via: str) -> None:
    ann = open_window().enter("Ann", "websocket")
    bea = open_window().enter("Bea", via)
    ann.expect_people("Ann (you)", "Bea")
    bea.page.get_by_role("link", name="Leave").click()
    expect(ann.log).to_contain_text("Bea left.", timeout=AWAY_SECONDS * 500)
    expect(bea.page.get_by_role("heading", name="Join the chat")).to_be_visible()


@BOTH
def test_a_reload_is_the_same_person_and_no_other_window_sees_it(
    open_window: OpenWindow, via: str
) -> None:
    ann = open_window().enter("Ann", "websocket")
    bea = open_window().enter("Bea", via)
    bea.say("About to reload.")
    expect(ann.bubble("About to reload.")).to_have_count(1)
    bea.page.reload()
    bea.expect_here(via)
    bea.expect_people("Bea (you)", "Ann")
    expect(bea.earlier).to_contain_text("You")
    expect(bea.earlier.get_by_text("About to reload.")).to_have_count(1)
    bea.say("And back.")
    expect(ann.texts).to_have_text(["About to reload.", "And back."])
    ann.expect_people("Ann (you)", "Bea")
    notes = ann.log.locator(".note")
    expect(notes).to_have_text(["Bea is here."])


@pytest.mark.parametrize("graceful", [True, False], ids=["terminated", "killed"])
def test_both_windows_come_back_after_the_server_was_away(
    open_window: OpenWindow, server: Server, pictures: Path, graceful: bool
) -> None:
    ann = open_window().enter("Ann", "websocket")
    bea = open_window(width=360, height=640).enter("Bea", "sse")
    ann.say("Before.")
    expect(bea.bubble("Before.")).to_have_count(1)

    server.stop(graceful=graceful)
    for window in (ann, bea):
        expect(window.status).to_contain_text("Retrying")
        expect(window.people).to_have_count(0)
        expect(window.page.get_by_role("button", name="Try now")).to_be_visible()
    bea.keep_picture(pictures, f"phone-server-away-{'terminated' if graceful else 'killed'}")
    server.start()
    ann.expect_here("websocket")
    bea.expect_here("sse")
    expect_both_there(ann, bea)
    expect(ann.log).to_contain_text("You are back.")

    say_and_expect(bea, ann, "After.")
    say_and_expect(ann, bea, "Good to see you again.")
    expect(bea.bubble("Before.")).to_have_count(1)


@BOTH
def test_what_is_written_while_the_server_is_away_is_sent_when_it_is_back(
    open_window: OpenWindow, server: Server, via: str
) -> None:
    ann = open_window().enter("Ann", via)
    server.stop(graceful=False)
    expect(ann.status).to_contain_text("Retrying")
    ann.say("First, patiently.")
    ann.say("Second, too.")
    expect(ann.page.get_by_text("Waits for the connection")).to_have_count(2)
    expect(ann.page.get_by_text("You are not connected.")).to_be_visible()
    server.start()
    ann.expect_here(via)
    expect(ann.bubble("First, patiently.")).to_have_count(1)
    expect(ann.bubble("Second, too.")).to_have_count(1)
    expect(ann.page.get_by_text("Waits for the connection")).to_have_count(0)
    text = ann.log.inner_text()
    assert text.index("First, patiently.") < text.index("Second, too.")


def test_switching_the_transport_keeps_the_conversation(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann", "websocket")
    bea = open_window().enter("Bea", "sse")
    ann.say("Over WebSocket.")
    expect(bea.bubble("Over WebSocket.")).to_have_count(1)
    for via in ("sse", "websocket"):
        ann.switch(via)
        assert f"via={via}" in ann.page.url
        ann.expect_people("Ann (you)", "Bea")
        bea.expect_people("Bea (you)", "Ann")
        ann.say(f"Now over {via}.")
        expect(bea.bubble(f"Now over {via}.")).to_have_count(1)
        bea.say(f"Heard over {via}.")
        expect(ann.bubble(f"Heard over {via}.")).to_have_count(1)
    expect(ann.bubble("Over WebSocket.")).to_have_count(1)


@BOTH
def test_hostile_text_is_shown_as_text(open_window: OpenWindow, via: str) -> None:
    attack = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
    name = "<b onclick=1>Mallory</b>"
    room = "<i>room<i>"
    ann = open_window().enter("Ann", via, room=room)
    mallory = open_window().enter(name, via, room=room)
    mallory.say(attack)
    for window in (ann, mallory):
        expect(window.bubble(attack)).to_have_count(1)
        expect(window.page.get_by_role("heading", name=room, exact=True)).to_be_visible()
        assert window.page.locator("img, #log b b, #log script, li i, h1 i").count() == 0
        assert window.page.evaluate("'broken' in window") is False
    ann.expect_people("Ann (you)", name)
    expect(ann.log).to_contain_text(f"{name} is here.")


@BOTH
def test_characters_that_end_lines_elsewhere_arrive(open_window: OpenWindow, via: str) -> None:
    ann = open_window().enter("Ann", via)
    bea = open_window().enter("Bea", via)
    for number, odd in enumerate("\u2028\u2029\u0085\x0b\x0c\r\0:\U0001f986"):
        ann.page.evaluate("text => document.querySelector('#text').value = text", f"{number}{odd}!")
        ann.message_box.press("Enter")
        expect(bea.log.get_by_text(re.compile(rf"^{number}.*!$", re.DOTALL))).to_have_count(1)


@BOTH
def test_a_refused_name_says_why_and_can_be_corrected(
    open_window: OpenWindow, pictures: Path, via: str
) -> None:
    ann = open_window(width=360, height=640)
    ann.open(name="Ann" * 12, via=via)
    expect(ann.page.get_by_role("alert")).to_have_text(
        "That name is too long: 24 characters are the most."
    )
    ann.keep_picture(pictures, f"phone-refused-name-{via}")
    ann.page.get_by_label("Your name").fill("Ann")
    ann.page.get_by_role("button", name="Join").click()
    ann.expect_here(via)


@BOTH
def test_a_room_that_does_not_exist_says_so(open_window: OpenWindow, via: str) -> None:
    ann = open_window()
    ann.open(name="Ann", room="a/b", via=via)
    expect(ann.page.get_by_role("alert")).to_have_text(re.compile(r"\w"))
    ann.open(name="Ann", room="r" * 41, via=via)
    expect(ann.page.get_by_role("alert")).to_have_text(
        "A room's name has at most 40 visible characters."
    )


def test_two_people_of_one_name_are_two_people(open_window: OpenWindow) -> None:
    one = open_window().enter("Ann", "websocket")
    two = open_window().enter("Ann", "sse")
    for window in (one, two):
        expect(window.people).to_have_text(
            [re.compile(r"Ann #\w{4} \(you\)"), re.compile(r"Ann #\w{4}$")]
        )
    two.say("I am the other one.")
    expect(one.log).to_contain_text(re.compile(r"Ann\s*#\w{4}"))


@BOTH
def test_a_message_the_server_refuses_stays_with_the_reason(
    open_window: OpenWindow, via: str
) -> None:
    ann = open_window().enter("Ann", via)
    ann.message_box.evaluate("box => box.removeAttribute('maxlength')")
    ann.say("x" * 2001)
    expect(ann.page.get_by_role("alert").filter(has_text="Not sent")).to_contain_text(
        "Not sent: Too long: 2000 characters are the most."
    )
    ann.page.get_by_role("button", name="Discard").click()
    expect(ann.page.get_by_text("Not sent")).to_have_count(0)
    ann.say("Short.")
    expect(ann.bubble("Short.")).to_have_count(1)


@BOTH
def test_many_messages_written_at_once_arrive_in_order(open_window: OpenWindow, via: str) -> None:
    ann = open_window().enter("Ann", via)
    bea = open_window().enter("Bea", "sse")
    for number in range(40):
        ann.say(f"number {number}")
    expect(bea.log.get_by_text(re.compile(r"^number \d+$"))).to_have_text(
        [f"number {number}" for number in range(40)]
    )
    expect(bea.page.get_by_role("button", name="New messages")).to_be_hidden()


def test_a_reader_who_scrolled_up_is_not_pulled_down(open_window: OpenWindow) -> None:
    ann = open_window().enter("Ann")
    for number in range(30):
        ann.say(f"number {number}")
    expect(ann.bubble("number 29")).to_be_in_viewport()
    ann.bubble("number 0").scroll_into_view_if_needed()
    bea = open_window().enter("Bea")
    bea.say("Something new.")
    newer = ann.page.get_by_role("button", name="New messages")
    expect(newer).to_be_visible()
    expect(ann.bubble("Something new.")).not_to_be_in_viewport()
    newer.click()
    expect(ann.bubble("Something new.")).to_be_in_viewport()
    expect(newer).to_be_hidden()


def test_the_page_fits_a_phone(open_window: OpenWindow, pictures: Path) -> None:
    ann = open_window(width=360, height=640)
    ann.open()
    expect(ann.page.get_by_role("heading", name="Join the chat")).to_be_visible()
    ann.expect_no_sideways_scroll()
    ann.keep_picture(pictures, "phone-sign-in")
    ann.enter("Ann" * 8, "sse", room="r" * 40)
    bea = open_window(width=360, height=640, dark=True).enter("B" * 24, room="r" * 40)
    bea.say("A-word-without-any-space-" * 8)
    bea.say("https://example.org/" + "path/" * 30)
    ann.say("Fits.")
    expect(ann.log).to_contain_text("example.org")
    expect(bea.bubble("Fits.")).to_be_in_viewport()
    for window in (ann, bea):
        window.expect_no_sideways_scroll()
        expect(window.message_box).to_be_in_viewport()
    ann.keep_picture(pictures, "phone-long-words")
    bea.keep_picture(pictures, "phone-long-words-dark")


def press_until_focused(window: Window, key: str, wanted: Locator) -> None:
    for _ in range(12):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        window.page.keyboard.press(key)
    expect(wanted).to_be_focused()


def test_the_keyboard_is_enough(open_window: OpenWindow) -> None:
    ann = open_window()
    ann.open(room=ann.room)
    keyboard = ann.page.keyboard
    expect(ann.page.get_by_label("Your name")).to_be_focused()
    keyboard.type("Ann")
    keyboard.press("Enter")
    ann.expect_here("websocket")
    expect(ann.message_box).to_be_focused()
    keyboard.type("one line")
    keyboard.press("Shift+Enter")
    keyboard.type("another")
    keyboard.press("Enter")
    expect(ann.log).to_contain_text("one line\nanother")
    press_until_focused(ann, "Shift+Tab", ann.page.get_by_role("button", name="Connection"))
    keyboard.press("Enter")
    expect(ann.drawer).to_be_visible()
    press_until_focused(ann, "Tab", ann.page.get_by_role("radio", name="WebSocket"))
    keyboard.press("ArrowRight")
    ann.expect_here("sse")
