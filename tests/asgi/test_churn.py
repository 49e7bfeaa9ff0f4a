"""Many clients come and go, in any order, and some are cut off; nothing of them is left."""

import gc
import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, ConnectRequest, PondSocket
from pondsocket.adapter import Session as CoreSession
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._transport.websocket import ASGIWebSocketTransport

from tests.asgi.conftest import Pond, Session, join
from tests.live_objects import live_objects


@pytest.mark.timeout(120)  # some 5 s of work; more where others work too
async def test_a_thousand_connections_leave_nothing_behind(pond: Pond) -> None:
    order = random.Random(1)
    tasks_before = len(anyio.get_running_tasks())
    sessions: list[Session] = []
    for number in range(1000):
        connect = pond.driver.connect_websocket if number % 2 else pond.driver.connect_sse
        sessions.append(await connect("/socket"))
        await join(sessions[-1])
        if order.random() < 0.4:
            await leave(sessions.pop(order.randrange(len(sessions))), order)
    assert await pond.endpoint.connection_count() == len(sessions) > 500
    order.shuffle(sessions)
    async with anyio.create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(leave, session, order)
    assert pond.left == ["connection_closed"] * 1000
    assert await pond.is_empty()
    assert await pond.lobby.list_channels() == []
    assert len(anyio.get_running_tasks()) == tasks_before


async def leave(session: Session, order: random.Random) -> None:
    """Disconnect, or be cut off in the middle of a message."""
    if order.random() < 0.5:
        await session.disconnect()
        return
    session.stop_reading()
    await session.send_client_message(
        action="BROADCAST", channel_name="/chat/1", event="hang", payload={}
    )
    session.cancel()
    await session.wait_ended()


async def test_an_ended_websocket_is_gone_without_a_collection() -> None:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept()

    messages: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1000},
    ]

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()

    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b""}
    app = PondASGIApp(pond)
    gc.collect()
    gc.disable()
    try:
        before = {id(thing) for thing in ours()}
        await app(scope, receive, send)
        assert [thing for thing in ours() if id(thing) not in before] == []
    finally:
        gc.enable()


def ours() -> list[object]:
    """Return what a connection is made of."""
    return live_objects(CoreSession, ConnectRequest, ASGIWebSocketTransport)
