"""What the page does when a connection ends, against a server that is played by the test."""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.browser.chat_window import OpenWindow, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

STOP: Final = [1000, 1009, 4400, 4403, 4404]
RECONNECT: Final = [1001, 1011, 1012, 4408, 4429, 4503]

Handle = Callable[["PlayedServer", dict[str, Any]], None]


class PlayedServer:
    """The server's side of the page's WebSocket; joins are accepted, `handle` sees the rest."""

    def __init__(self, window: Window, handle: Handle | None = None) -> None:
        self.connections: list[WebSocketRoute] = []
        self._channel = f"/chat/{window.room}"
        self._handle = handle
        window.page.route_web_socket("**/socket?*", self._open)

    @property
    def connection(self) -> WebSocketRoute:
        return self.connections[-1]

    def send(
        self, action: str, event: str, payload: object, *, to: str = "", answers: str = "r"
    ) -> None:
        frame = {"action": action, "event": event, "requestId": answers}
        frame["channelName"] = to or self._channel
        self.connection.send(json.dumps({**frame, "payload": payload}))

    def say(self, key: str, text: str, time: str = "2026-01-01T10:00:00+00:00") -> None:
        said = {"key": key, "text": text, "user": "u2", "name": "Bea", "time": time}
        self.send("BROADCAST", "message", said)

    def say_goodbye(
        self, code: int, reason: str, *, reconnect: bool = True, after_ms: int = 0
    ) -> None:
        goodbye = {"code": code, "reason": reason, "reconnect": reconnect, "afterMs": after_ms}
        self.send("SYSTEM", "GOODBYE", goodbye, to="GATEWAY")

    def _open(self, connection: WebSocketRoute) -> None:
        self.connections.append(connection)
        connection.on_message(self._take)
        welcome = {"id": "u1", "connectionId": "secret"}
        self.send("CONNECT", "CONNECTION", welcome, to="GATEWAY")

    def _take(self, text: str | bytes) -> None:
        message: dict[str, Any] = json.loads(text)
        if message["action"] == "JOIN_CHANNEL":
            self.send("SYSTEM", "ACKNOWLEDGE", {}, answers=message["requestId"])
        elif self._handle is not None and message.get("event") != "typing":
            self._handle(self, message)


def enter_played(open_window: OpenWindow) -> tuple[Window, PlayedServer]:
    """Return a window that has entered, and the server that is played for it."""
    ann = open_window()
    played = PlayedServer(ann)
    ann.enter("Ann")
    return ann, played


def enter_with_a_clock(open_window: OpenWindow) -> tuple[Window, PlayedServer, list[str]]:
    """Return the same with a clock that the test moves; and the actions that the server is sent."""
    taken: list[str] = []
    ann = open_window()
    played = PlayedServer(ann, lambda _, message: taken.append(message["action"]))
    ann.page.clock.install()
    ann.enter("Ann")
    return ann, played, taken


def test_final_close_codes_stop_and_say_so(open_window: OpenWindow) -> None:
    for code in STOP:
        ann, played = enter_played(open_window)
        played.connection.close(code=code)
        again = ann.page.get_by_role("button", name="Connect again")
        expect(again).to_be_visible()
        expect(ann.status).not_to_contain_text("Retrying")
        assert len(played.connections) == 1
        again.click()
        ann.expect_here("websocket")
        assert len(played.connections) == 2


def test_passing_close_codes_reconnect(open_window: OpenWindow) -> None:
    for code in RECONNECT:
        ann, played = enter_played(
            open_window
        )  # a new one each time: the delay grows with failures in a row
        played.connection.close(code=code)
        expect(ann.log).to_contain_text("You are back.")
        ann.expect_here("websocket")
        assert len(played.connections) == 2


def test_a_goodbye_decides_over_the_close_code(open_window: OpenWindow) -> None:
    ann, played = enter_played(open_window)
    played.say_goodbye(1012, "restart")
    played.connection.close(code=1000)
    expect(ann.log).to_contain_text("You are back.")
    ann.expect_here("websocket")

    played.say_goodbye(4403, "You have been shown out.", reconnect=False)
    played.connection.close(code=1012)
    expect(ann.status).to_have_text("You have been shown out.")
    assert len(played.connections) == 2


def test_a_goodbye_says_how_long_to_wait(open_window: OpenWindow) -> None:
    ann, played = enter_played(open_window)
    played.say_goodbye(1012, "restart", after_ms=600_000)
    played.connection.close(code=1012)
    expect(ann.countdown).to_have_text(re.compile(r"^in 60[01] s$"))
    ann.page.get_by_role("button", name="Try now").click()
    ann.expect_here("websocket")


def test_a_goodbye_counts_from_its_arrival_and_the_connection_serves_until_its_end(
    open_window: OpenWindow,
) -> None:
    def handle(played: PlayedServer, message: dict[str, Any]) -> None:
        if message["action"] == "BROADCAST":  # not even a ping
            played.say(message["payload"]["key"], message["payload"]["text"])

    ann = open_window()
    ann.page.clock.install()
    played = PlayedServer(ann, handle)
    ann.enter("Ann")
    goodbye = {"code": 1012, "reason": "restart", "reconnect": True, "afterMs": 600_000}
    played.send("SYSTEM", "GOODBYE", goodbye, to="GATEWAY")
    expect(ann.status).to_have_text("The server restarts, back in a moment.")
    ann.say("Still heard?")
    expect(ann.bubble("Still heard?")).to_have_count(1)

    ann.page.clock.fast_forward(200_000)
    assert len(played.connections) == 1
    played.connection.close(code=1012)
    expect(ann.status).to_have_text("The server restarts, back in a moment. Retrying")
    expect(ann.countdown).to_have_text(re.compile(r"^in (39[0-9]|40[01]) s$"))
    ann.page.clock.fast_forward(300_000)
    expect(ann.countdown).to_have_text(re.compile(r"^in (9[0-9]|10[01]) s$"))
    assert len(played.connections) == 1
    ann.page.clock.fast_forward(102_000)
    ann.expect_here("websocket")
    assert len(played.connections) == 2


def test_a_goodbye_that_is_overdue_is_no_reason_to_wait(open_window: OpenWindow) -> None:
    ann = open_window()
    ann.page.clock.install()
    played = PlayedServer(ann)
    ann.enter("Ann")
    goodbye = {"code": 1012, "reason": "restart", "reconnect": True, "afterMs": 10_000}
    played.send("SYSTEM", "GOODBYE", goodbye, to="GATEWAY")
    expect(ann.status).to_have_text("The server restarts, back in a moment.")
    ann.page.clock.fast_forward(11_000)
    played.connection.close(code=1012)
    expect(ann.log).to_contain_text("You are back.", timeout=3_000)


def test_eviction_stops_and_says_why(open_window: OpenWindow) -> None:
    ann, played = enter_played(open_window)
    played.send("SYSTEM", "EVICTED", {"reason": "spam"})
    expect(ann.status).to_have_text("You were taken out of the room: spam.")
    assert len(played.connections) == 1


def test_a_message_without_answer_is_sent_again_with_the_same_key(open_window: OpenWindow) -> None:
    keys: list[str] = []

    def handle(played: PlayedServer, message: dict[str, Any]) -> None:
        keys.append(message["payload"]["key"])
        if len(keys) == 1:
            played.connection.close(code=1012)  # taken, and the answer lost
        else:
            played.say(keys[-1], message["payload"]["text"])
            played.say(keys[-1], message["payload"]["text"])

    ann = open_window()
    PlayedServer(ann, handle)
    ann.enter("Ann")
    ann.say("Once only.")
    expect(ann.bubble("Once only.")).to_have_count(1)
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_an_error_frame_stays_with_its_message(open_window: OpenWindow) -> None:
    def handle(played: PlayedServer, message: dict[str, Any]) -> None:
        error = {"error": "INTERNAL_SERVER_ERROR", "code": 500, "message": "Something broke."}
        answers = message["requestId"]
        played.send("ERROR", "INTERNAL_SERVER_ERROR", error, answers=answers)

    ann = open_window()
    PlayedServer(ann, handle)
    ann.enter("Ann")
    ann.say("Does this work?")
    expect(ann.page.get_by_text("Not sent: Something broke.")).to_be_visible()
    expect(ann.page.get_by_role("button", name="Try again")).to_be_visible()
    ann.page.get_by_role("button", name="Discard").click()
    expect(ann.conversation.get_by_text("Does this work?")).to_have_count(0)


def test_a_message_without_an_answer_may_have_been_said(open_window: OpenWindow) -> None:
    sent: list[dict[str, Any]] = []
    ann = open_window()
    ann.page.clock.install()
    played = PlayedServer(ann, lambda _, message: sent.append(message))
    ann.enter("Ann")
    ann.say("Does this work?")
    expect(ann.page.get_by_role("button", name="Try again")).to_have_count(0)
    ann.page.clock.fast_forward(15_000)
    expect(ann.page.get_by_role("alert").filter(has_text="No answer yet")).to_be_visible()
    expect(ann.page.get_by_text("Not sent")).to_have_count(0)
    expect(ann.page.get_by_role("button", name="Try again")).to_be_visible()
    # The answer comes late, and is no message.
    [message] = sent
    played.send("SYSTEM", "message", {}, answers=message["requestId"])
    played.say(message["payload"]["key"], "Does this work?")
    expect(ann.page.get_by_text("No answer yet")).to_have_count(0)
    expect(ann.conversation.get_by_text("Does this work?")).to_have_count(1)
    expect(ann.conversation.get_by_text("undefined")).to_have_count(0)


def test_a_join_that_may_pass_later_is_tried_again(open_window: OpenWindow) -> None:
    refusals = [500, 429, 408]
    joins: list[str] = []

    class Hesitating(PlayedServer):
        def _take(self, text: str | bytes) -> None:
            message: dict[str, Any] = json.loads(text)
            joins.append(message["action"])
            if message["action"] == "JOIN_CHANNEL" and refusals:
                refused = {"code": refusals.pop(0), "message": "Not just now.", "retryAfterMs": 10}
                self.send("SYSTEM", "UNAUTHORIZED", refused, answers=message["requestId"])
            else:
                super()._take(text)

    ann = open_window()
    played = Hesitating(ann)
    ann.enter("Ann")
    assert joins == ["JOIN_CHANNEL"] * 4
    assert len(played.connections) == 1


@pytest.mark.parametrize("via", ["websocket", "sse"])
def test_silence_is_asked_about_and_an_answer_is_enough(open_window: OpenWindow, via: str) -> None:
    pings: list[str] = []
    ann = open_window()
    ann.page.clock.install()
    ann.page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda frame: pings.append(str(frame))),
    )
    ann.enter("Ann", via)
    if via == "sse":
        with ann.page.expect_response(lambda response: response.request.method == "POST") as taken:
            ann.page.clock.fast_forward(30_000)
        assert taken.value.status == 204
    else:
        ann.page.clock.fast_forward(30_000)
    ann.say("Still here.")
    expect(ann.bubble("Still here.")).to_have_count(1)
    assert via == "sse" or any("PONG" in frame for frame in pings)
    ann.page.clock.fast_forward(15_000)
    ann.say("And now, too.")
    expect(ann.bubble("And now, too.")).to_have_count(1)
    ann.expect_here(via)
    assert "The server says" not in ann.log.inner_text()


def test_heartbeats_are_a_sign_of_life_and_not_shown(open_window: OpenWindow) -> None:
    ann, played, taken = enter_with_a_clock(open_window)
    before = ann.log.inner_text()
    for beat in range(4):
        ann.page.clock.fast_forward(25_000)
        played.send("SYSTEM", "PONG", {}, to="GATEWAY", answers=f"fresh {beat}")
        played.say(f"key {beat}", f"After beat {beat}.")
        expect(ann.bubble(f"After beat {beat}.")).to_have_count(1)
    ann.expect_here("websocket")
    assert taken == []
    assert len(played.connections) == 1
    assert "PONG" not in ann.log.inner_text()
    assert "The server says" not in ann.log.inner_text()
    assert before == ""

    ann.page.clock.run_for(45_000)
    expect(ann.log).to_contain_text("Connection lost.")
    assert taken == ["ping"]


def test_a_connection_that_went_silent_is_replaced(open_window: OpenWindow) -> None:
    ann, played, taken = enter_with_a_clock(open_window)
    ann.page.clock.run_for(45_000)
    expect(ann.log).to_contain_text("Connection lost.")
    ann.page.clock.fast_forward(2_000)
    expect(ann.log).to_contain_text("You are back.")
    assert taken == ["ping"]
    assert len(played.connections) == 2
