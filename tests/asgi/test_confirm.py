"""Confirmations and response models over WebSockets and event streams."""

from typing import Any

import pytest
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession
from pydantic import BaseModel

from tests.array_codec import ARRAY
from tests.virtual_time import jumping_loops

# On a busy machine, too, an answer comes before its limit.
anyio_backend = jumping_loops

ROOM = "/chat/1"


class Public(BaseModel):
    name: str


class User(Public):
    password: str


ANN = User(name="ann", password="hunter2")


def driver() -> ASGITestDriver:
    pond = PondSocket()

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept()

    socket = pond.create_endpoint("/socket", admit, codecs=[ARRAY])

    @socket.channel("/chat/:id")
    async def chat(ctx: JoinContext) -> Public:
        return ANN

    @socket.on_message("me")
    @chat.on_message("me")
    async def me() -> list[Public]:
        return [ANN]

    @socket.on_message("touch")
    @chat.on_message("touch")
    async def touch(ctx: EventContext) -> None: ...

    @chat.on_message("shout", confirm=True)
    async def shout(ctx: EventContext) -> None:
        await ctx.broadcast("heard", ctx.get_payload())

    return ASGITestDriver(PondASGIApp(pond))


async def opened(driver: ASGITestDriver, form: str) -> WebSocketSession | SSESession:
    codec = ARRAY if form.endswith("array") else None
    more: dict[str, Any] = {} if codec is None else {"codec": codec}
    connect = driver.connect_sse if form.startswith("sse") else driver.connect_websocket
    session: WebSocketSession | SSESession = await connect("/socket", **more)
    assert (await session.receive_json())["event"] == "CONNECTION"
    return session


@pytest.mark.parametrize("form", ["websocket", "websocket array", "sse", "sse array"])
async def test_an_event_is_confirmed_and_a_response_has_the_declared_fields(form: str) -> None:
    session = await opened(driver(), form)

    async def ask(name: str, event: str, action: str = "BROADCAST", **more: Any) -> tuple[str, Any]:
        request = await session.send_client_message(
            action=action, channel_name=name, event=event, **more
        )
        answer = await session.receive_json()
        assert (answer["action"], answer["requestId"]) == ("SYSTEM", request)
        assert answer["channelName"] == name
        return answer["event"], answer["payload"]

    joined = await ask(ROOM, "join", "JOIN_CHANNEL")
    assert joined == ("ACKNOWLEDGE", {"response": {"name": "ann"}})
    for name in (ROOM, "GATEWAY"):
        assert await ask(name, "touch", confirm=True) == ("touch", {})
        assert await ask(name, "me", confirm=True) == ("me", {"result": [{"name": "ann"}]})

    await session.send_client_message(action="BROADCAST", channel_name=ROOM, event="touch")
    request = await session.send_client_message(
        action="BROADCAST", channel_name=ROOM, event="shout", payload={"a": 1}
    )
    heard, answer = [await session.receive_json() for _ in range(2)]
    assert (heard["event"], heard["payload"]) == ("heard", {"a": 1})
    assert (answer["event"], answer["requestId"], answer["payload"]) == ("shout", request, {})
    await session.disconnect()


async def test_a_post_of_several_events_confirms_those_that_ask() -> None:
    pond = driver()
    session = await opened(pond, "sse")
    assert isinstance(session, SSESession)

    def event(number: int, **more: Any) -> dict[str, Any]:
        return {
            "action": "BROADCAST",
            "channelName": "GATEWAY",
            "event": "touch",
            "requestId": f"r{number}",
            "payload": {},
            **more,
        }

    one = event(1, confirm=True)
    assert (await pond.sse_push(session.connection_id, one)).status == 204
    several = [event(2, confirm=True), event(3), event(4, confirm=False), event(5, confirm=True)]
    assert (await pond.sse_push(session.connection_id, several)).status == 204
    answers = [await session.receive_json() for _ in range(3)]
    assert [(each["requestId"], each["payload"]) for each in answers] == [
        ("r1", {}),
        ("r2", {}),
        ("r5", {}),
    ]
    refused = await pond.sse_push(session.connection_id, event(6, confirm="yes"))
    assert refused.status == 400
    error = await session.receive_json()
    assert (error["event"], error["requestId"]) == ("INVALID_MESSAGE", "r6")
    await session.disconnect()
