"""Outgoing events as values, over both transports."""

from typing import Any

import pytest
from pondsocket import ConnectionContext, Event, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession
from pydantic import BaseModel


class Said(BaseModel):
    text: str


class SecretlySaid(Said):
    token: str = "secret"


said = Event("said", Said)
pond = PondSocket()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext, user: str) -> None:
    ctx.reply(said, SecretlySaid(text="welcome"))
    ctx.accept(user_id=user)


@socket.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.broadcast(said, SecretlySaid(text="came"))


news = chat.event("news", Said)


@chat.on_message("say")
async def say(ctx: EventContext, text: str) -> None:
    await ctx.reply(said, SecretlySaid(text=text))


@chat.on_message("wrong")
async def wrong(ctx: EventContext) -> None:
    await ctx.broadcast(said, Said.model_construct(text=7))


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_the_declared_fields_arrive_and_nothing_else_does(transport: str) -> None:
    driver = ASGITestDriver(PondASGIApp(pond))
    session: WebSocketSession | SSESession
    if transport == "websocket":
        session = await driver.connect_websocket("/socket?user=ann")
    else:
        session = await driver.connect_sse("/socket?user=ann")

    async def expect(event: str, payload: object) -> dict[str, Any]:
        message = await session.receive_json()
        assert (message["event"], message["payload"]) == (event, payload)
        return message

    async def send(event: str, payload: dict[str, Any], action: str = "BROADCAST") -> str:
        return await session.send_client_message(
            action=action, channel_name="/chat/1", event=event, payload=payload
        )

    assert (await session.receive_json())["event"] == "CONNECTION"
    await expect("said", {"text": "welcome"})
    await send("join", {}, "JOIN_CHANNEL")
    await expect("ACKNOWLEDGE", {})
    await expect("said", {"text": "came"})
    request_id = await send("say", {"text": "hi"})
    assert (await expect("said", {"text": "hi"}))["requestId"] == request_id
    await news("/chat/1", text="all")
    await news.to("bob")("/chat/1", text="bob's")
    await news.to("ann")("/chat/1", SecretlySaid(text="ann's"))
    await expect("news", {"text": "all"})
    await expect("news", {"text": "ann's"})
    await send("wrong", {})
    assert (await session.receive_json())["payload"]["code"] == 500
    await session.disconnect()
