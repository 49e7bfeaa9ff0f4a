"""examples/typed_chat.py, asked over both transports."""

import pytest
from fastapi import FastAPI
from pondsocket_asgi.testing import PondClient

from examples import typed_chat

ANN, BOB = "/ws/socket?token=ann-key", "/ws/socket?token=bob-key"
ROOM = "/chat/1"

pytestmark = pytest.mark.parametrize("pond_transport", ["websocket", "sse"])


@pytest.fixture
def pond_app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(typed_chat, "database", typed_chat.Database())
    return typed_chat.app


async def test_a_token_is_asked_for_and_must_be_known(pond_client: PondClient) -> None:
    await pond_client.connect("/ws/socket").assert_refused(code=422, message="token")
    await pond_client.connect("/ws/socket?token=x").assert_refused(code=401)


async def test_the_user_is_who_the_token_says(pond_client: PondClient) -> None:
    async with pond_client.connect(ANN) as ann:
        assert ann.user_id == "ann"
        assert (await ann.join(ROOM)).response == {"topic": "Welcome"}
        await ann.assert_join_refused("/chat/2", code=404, message="no such room")
        await ann.assert_join_refused("/chat/kitchen", code=404, message="no channel")


async def test_what_is_said_is_saved_heard_and_answered(pond_client: PondClient) -> None:
    async with (
        pond_client.connect(ANN).joined(ROOM) as room,
        pond_client.connect(BOB).joined(ROOM) as other,
    ):
        assert await room.call("say", {"text": "hi"}) == {"id": 1}
        for hearer in (room, other):
            await hearer.assert_broadcast("said", {"id": 1, "name": "Ann", "text": "hi"})
        assert typed_chat.database.messages[1] == ["hi"]


async def test_a_message_that_does_not_fit_is_answered_with_the_field(
    pond_client: PondClient,
) -> None:
    async with pond_client.connect(ANN).joined(ROOM) as room:
        await room.assert_error("say", {"text": ""}, code=422, loc=("text",))
        assert not typed_chat.database.messages[1]


async def test_a_plain_function_counts_in_a_thread(pond_client: PondClient) -> None:
    async with (
        pond_client.connect(ANN).joined(ROOM) as room,
        pond_client.connect(BOB).joined(ROOM) as other,
    ):
        await room.call("say", {"text": "one two"})
        await other.call("say", {"text": "three"})
        assert await room.call("report") == {"messages": 2, "words": 3}
        await other.assert_broadcast("counted", {"by": "ann"})


async def test_a_status_is_a_field_of_the_payload(pond_client: PondClient) -> None:
    async with pond_client.connect(ANN).joined(ROOM, presence=True) as room:
        await room.send("status", {"text": "busy"})
        await room.assert_presence(joined="ann", shown={"name": "Ann", "status": "busy"})


async def test_the_endpoint_answers_without_a_room(pond_client: PondClient) -> None:
    async with pond_client.connect(ANN) as ann:
        assert await ann.call("add_numbers", {"a": 2, "b": 3}) == {"result": 5}


async def test_the_included_lobby_keeps_others_out(pond_client: PondClient) -> None:
    async with (
        pond_client.connect(ANN).joined("/support/ann") as room,
        pond_client.connect(BOB) as bob,
    ):
        await bob.assert_join_refused("/support/ann", code=403)
        await room.send("ask", {"text": "Help"})
        await room.assert_broadcast("asked", {"text": "Help"})


async def test_the_middleware_writes_down_who_asked(
    pond_client: PondClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "typed_chat")
    async with pond_client.connect(ANN).joined(ROOM) as room:
        await room.call("say", {"text": "hi"})
    assert "ann: say in /chat/1" in caplog.messages


async def test_the_web_page_and_the_task_speak_in_the_room(
    pond_client: PondClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed_chat, "REMIND_SECONDS", 0.01)
    async with pond_client.lifespan(), pond_client.connect(BOB).joined(ROOM) as room:
        assert (await pond_client.request("GET", "/")).body == b'{"/chat/1":1}'
        news = {"text": "closing"}
        assert (await pond_client.request("POST", "/rooms/1/news", json=news)).status == 204
        await room.assert_broadcast("news", news)
        await room.assert_broadcast("reminder", {"text": "Be kind."})
    assert not await typed_chat.socket.connection_count()
