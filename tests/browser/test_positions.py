"""What the page makes of positions, against a server that is played by the test."""

import json
from typing import Any, Final

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.browser.chat_window import OpenWindow, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

Answer = dict[str, Any]
BACK: Final = "You are back."
MISSING: Final = "You are back. Some messages may be missing."


def frame(action: str, event: str, channel: str, payload: Answer, **more: object) -> str:
    named = {"action": action, "event": event, "channelName": channel, "requestId": "r"}
    return json.dumps({**named, "payload": payload, **more})


def welcome(**more: object) -> str:
    return frame("CONNECT", "CONNECTION", "GATEWAY", {"id": "u1", "connectionId": "c", **more})


def acknowledge(window: Window, **payload: object) -> str:
    return frame("SYSTEM", "ACKNOWLEDGE", channel(window), payload)


def said(window: Window, text: str, epoch: str, offset: int, key: str | None = None) -> str:
    """Return a message, under a key of its own, so that only its position tells it from a copy."""
    time = "2026-01-01T10:00:00+00:00"
    payload = {"key": key or f"{text} {offset}", "text": text, "user": "u2", "name": "Bea"}
    place = {"epoch": epoch, "offset": offset}
    return frame("BROADCAST", "message", channel(window), {**payload, "time": time}, **place)


def channel(window: Window) -> str:
    return f"/chat/{window.room}"


class PlayedSocket:
    """The server's side of the page's WebSockets: each join is answered by the next frames."""

    def __init__(self, window: Window, *answers: list[str]) -> None:
        self.joins: list[Answer] = []
        self.connections: list[WebSocketRoute] = []
        self._answers = list(answers)
        window.page.route_web_socket("**/socket?*", self._open)

    def _open(self, connection: WebSocketRoute) -> None:
        self.connections.append(connection)
        connection.on_message(self._take)
        connection.send(welcome(supports=["history"]))

    def _take(self, text: str | bytes) -> None:
        message: Answer = json.loads(text)
        if message["action"] == "JOIN_CHANNEL":
            self.joins.append(message)
            acknowledged, *messages = self._answers.pop(0)
            answer = {**json.loads(acknowledged), "requestId": message["requestId"]}
            for each in (json.dumps(answer), *messages):
                self.connections[-1].send(each)


def test_a_rejoin_asks_for_what_came_since_the_last_message_seen(open_window: OpenWindow) -> None:
    ann = open_window()
    first = [acknowledge(ann, epoch="e", offset=4), said(ann, "five", "e", 5)]
    second = [
        acknowledge(ann, epoch="e", offset=5, recovered=True),
        said(ann, "six", "e", 6),
        said(ann, "eight", "e", 8),  # 7 was for another user
    ]
    played = PlayedSocket(ann, first, second, [acknowledge(ann, epoch="e", offset=8)])
    ann.enter("Ann")
    expect(ann.texts).to_have_text(["five"])
    for texts in (["five", "six", "eight"], ["five", "six", "eight"]):
        played.connections[-1].close(code=1012)
        expect(ann.log).to_contain_text(BACK)
        ann.expect_here("websocket")
        expect(ann.texts).to_have_text(texts)
    since = [join.get("since") for join in played.joins]
    assert since == [None, {"epoch": "e", "offset": 5}, {"epoch": "e", "offset": 8}]
    assert {join["presence"] for join in played.joins} == {"diff"}


def test_what_comes_twice_by_its_position_is_shown_once(open_window: OpenWindow) -> None:
    ann = open_window()
    PlayedSocket(
        ann,
        [
            acknowledge(ann, epoch="e", offset=0),
            said(ann, "one", "e", 1, "key 1"),
            said(ann, "two", "e", 2, "key 2"),
            said(ann, "one", "e", 1, "another key"),
            said(ann, "two", "e", 2, "yet another"),
            said(ann, "three", "e", 3),
            said(ann, "of another life", "f", 1),
        ],
    )
    ann.enter("Ann")
    expect(ann.texts).to_have_text(["one", "two", "three", "of another life"])


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ({"epoch": "e", "offset": 1, "recovered": True}, BACK),
        ({"epoch": "e", "offset": 40, "recovered": False}, MISSING),
        ({"epoch": "f", "offset": 0, "recovered": False}, MISSING),
        ({}, MISSING),
    ],
    ids=["recovered", "trimmed", "another epoch", "no history any more"],
)
def test_the_page_says_what_the_server_says_of_what_is_missing(
    open_window: OpenWindow, answer: Answer, note: str
) -> None:
    ann = open_window()
    first = [acknowledge(ann, epoch="e", offset=0), said(ann, "one", "e", 1)]
    again = [acknowledge(ann, **answer)]
    played = PlayedSocket(ann, first, again, again)
    ann.enter("Ann")
    expect(ann.texts).to_have_text(["one"])
    played.connections[-1].close(code=1012)
    expect(ann.log.locator(".note").last).to_have_text(note)
    ann.expect_here("websocket")
    played.connections[-1].close(code=1012)
    expect(ann.log.locator(".note")).to_have_count(4)
    place = {key: answer[key] for key in ("epoch", "offset") if key in answer}
    # From where the frames began, or from nowhere.
    assert played.joins[-1].get("since") == (place or None)


def test_the_latest_messages_behind_a_gap_are_shown_unless_they_were_already(
    open_window: OpenWindow,
) -> None:
    ann = open_window()
    known = [said(ann, text, "e", n) for n, text in enumerate(["1", "2", "3", "4"], 1)]
    lost = acknowledge(ann, epoch="e", offset=2, recovered=False)
    played = PlayedSocket(
        ann,
        [acknowledge(ann, epoch="e", offset=0), *known[:3]],
        [lost, *known[2:]],
    )
    ann.enter("Ann")
    expect(ann.texts).to_have_text(["1", "2", "3"])
    played.connections[-1].close(code=1012)
    expect(ann.texts).to_have_text(["1", "2", "3", "4"])
    expect(ann.log.get_by_role("listitem").nth(-2)).to_have_text(MISSING)
