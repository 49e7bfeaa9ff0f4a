"""examples/typed_chat.py, asked over both transports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pondsocket_asgi.testing import ASGITestDriver, WebSocketSession

from examples import typed_chat

Frame = dict[str, Any]
ROOM = "/chat/1"


@pytest.fixture(autouse=True)
def fresh_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_chat, "database", typed_chat.Database())


class Client:
    """One WebSocket of the example; `ask` waits for the answer and keeps what came before it."""

    def __init__(self, session: WebSocketSession) -> None:
        self.session = session
        self.heard: list[Frame] = []

    async def join(self, channel_name: str) -> Frame:
        return await self.ask("JOIN_CHANNEL", channel_name, "join")

    async def say(self, event: str, channel_name: str = ROOM, /, **payload: object) -> Frame:
        return await self.ask("BROADCAST", channel_name, event, payload)

    async def ask(
        self, action: str, channel_name: str, event: str, payload: Frame | None = None
    ) -> Frame:
        request_id = await self.session.send_client_message(
            action=action, channel_name=channel_name, event=event, payload=payload
        )
        while True:
            message = await self.session.receive_json()
            if message["requestId"] == request_id:
                return message
            self.heard.append(message)

    async def hears(self, event: str) -> Frame:
        for message in self.heard:
            if message["event"] == event:
                self.heard.remove(message)
                return message
        return await self.session.receive_event_named(event)


@asynccontextmanager
async def visitor(token: str, room: str | None = ROOM) -> AsyncIterator[Client]:
    driver = ASGITestDriver(typed_chat.app)
    session = await driver.connect_websocket(f"/ws/socket?token={token}")
    assert session.accepted, session.close_reason
    client = Client(session)
    await client.hears("CONNECTION")
    if room is not None:
        assert (await client.join(room))["event"] == "ACKNOWLEDGE"
    yield client
    await session.disconnect()


async def test_a_token_is_asked_for_and_must_be_known() -> None:
    driver = ASGITestDriver(typed_chat.app)
    without = await driver.connect_sse("/ws/socket")
    assert (without.status, b"token" in without.body) == (422, True)
    unknown = await driver.connect_sse("/ws/socket?token=x")
    assert unknown.status == 401


async def test_the_user_is_who_the_token_says() -> None:
    async with visitor("ann-key", None) as ann:
        assert (await ann.join(ROOM))["payload"] == {"response": {"topic": "Welcome"}}
        assert (await ann.join("/chat/2"))["payload"]["code"] == 404
        assert (await ann.join("/chat/kitchen"))["event"] == "NOT_FOUND"


async def test_what_is_said_is_saved_heard_and_answered() -> None:
    async with visitor("ann-key") as ann, visitor("bob-key") as bob:
        reply = await ann.say("say", text="hi")
        assert (reply["event"], reply["payload"]) == ("say", {"id": 1})
        said = {"id": 1, "name": "Ann", "text": "hi"}
        assert (await ann.hears("said"))["payload"] == said
        assert (await bob.hears("said"))["payload"] == said
        assert typed_chat.database.messages[1] == ["hi"]


async def test_a_message_that_does_not_fit_is_answered_with_the_field() -> None:
    async with visitor("ann-key") as ann:
        answer = await ann.say("say", text="")
        assert (answer["event"], answer["payload"]["code"]) == ("INVALID_MESSAGE", 422)
        assert answer["payload"]["details"][0]["loc"] == ["text"]
        assert not typed_chat.database.messages[1]


async def test_a_plain_function_counts_in_a_thread() -> None:
    async with visitor("ann-key") as ann, visitor("bob-key") as bob:
        await ann.say("say", text="one two")
        await bob.say("say", text="three")
        assert (await ann.say("report"))["payload"] == {"messages": 2, "words": 3}
        assert (await bob.hears("counted"))["payload"] == {"by": "ann"}


async def test_a_status_is_a_field_of_the_payload() -> None:
    async with visitor("ann-key") as ann:
        await ann.session.send_client_message(
            action="BROADCAST", channel_name=ROOM, event="status", payload={"text": "busy"}
        )
        shown = await ann.session.receive_event_named("JOIN")
        assert shown["payload"]["presence"] == [{"name": "Ann", "status": "busy"}]


async def test_the_endpoint_answers_without_a_room() -> None:
    async with visitor("ann-key", None) as ann:
        assert (await ann.say("add_numbers", "GATEWAY", a=2, b=3))["payload"] == {"result": 5}


async def test_the_included_lobby_keeps_others_out(caplog: pytest.LogCaptureFixture) -> None:
    async with visitor("ann-key", "/support/ann") as ann, visitor("bob-key", None) as bob:
        assert (await bob.join("/support/ann"))["payload"]["code"] == 403
        await ann.session.send_client_message(
            action="BROADCAST", channel_name="/support/ann", event="ask", payload={"text": "Help"}
        )
        assert (await ann.hears("asked"))["payload"] == {"text": "Help"}


async def test_the_middleware_writes_down_who_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "typed_chat")
    async with visitor("ann-key") as ann:
        await ann.say("say", text="hi")
    assert "ann: say in /chat/1" in caplog.messages


async def test_the_web_page_and_the_task_speak_in_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = ASGITestDriver(typed_chat.app)
    monkeypatch.setattr(typed_chat, "REMIND_SECONDS", 0.01)
    lifespan = await driver.open_lifespan()
    await lifespan.startup()
    async with visitor("bob-key") as bob:
        home = await driver.call_http("/")
        assert home.body == b'{"/chat/1":1}'
        status, _ = await driver.call_http(
            "/rooms/1/news",
            method="POST",
            headers={"content-type": "application/json"},
            body=b'{"text": "closing"}',
        )
        assert status == 204
        assert (await bob.hears("news"))["payload"] == {"text": "closing"}
        assert (await bob.hears("reminder"))["payload"] == {"text": "Be kind."}
    with anyio.fail_after(5):
        await lifespan.shutdown()
    assert not await typed_chat.socket.connection_count()
