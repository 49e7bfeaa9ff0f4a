"""Many come and go, in any order and some of them rudely; nothing of them is left."""

import random

import anyio
import pytest

from tests.asgi.conftest import Pond, Session, join


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
