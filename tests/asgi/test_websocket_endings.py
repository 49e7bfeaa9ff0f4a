"""How a WebSocket ends: by its peer, by the server, by being slow."""

import json
import logging
from typing import Any

import anyio
import pytest
from pondsocket_asgi._transport import websocket
from pondsocket_asgi.testing import ASGITestDriver
from pondsocket_common import CloseCode

from tests.asgi.asgi_connections import PondSetup, members
from tests.asgi.conftest import (
    HTTP_RESPONSE,
    MakePond,
    Pond,
    driver_with,
    expect_aborted,
    join,
    overflow,
    say,
)


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after websocket.close")])
async def test_a_send_that_raises_ends_the_connection_quietly(
    pond: Pond, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_at_broadcast(message: Any, send: Any) -> None:
        if "said" in (message.get("text") or ""):
            raise error
        await send(message)

    caplog.set_level(logging.DEBUG, "pondsocket.asgi")
    session = await driver_with(pond, fail_at_broadcast).connect_websocket("/socket")
    await join(session)
    await say(session, "hello")
    await session.wait_ended()
    assert await pond.is_empty()
    assert pond.left == ["connection_closed"]
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


async def test_a_client_that_leaves_during_the_accept_leaves_nothing(pond: Pond) -> None:
    async def fail(message: Any, send: Any) -> None:
        raise OSError("gone")

    with pytest.raises(RuntimeError, match="returned without accept or refusal"):
        await driver_with(pond, fail).connect_websocket("/socket")
    assert await pond.is_empty()


async def test_a_client_that_leaves_while_it_is_refused_is_no_error(pond: Pond) -> None:
    async def fail(message: Any, send: Any) -> None:
        raise OSError("gone")

    for extensions in (None, HTTP_RESPONSE):
        with pytest.raises(RuntimeError, match="returned without accept or refusal"):
            await driver_with(pond, fail).connect_websocket(
                "/socket?decline=401", extensions=extensions
            )


async def test_cancelling_the_call_leaves_nothing_behind(pond: Pond) -> None:
    session = await pond.join_websocket()
    await session.send_client_message(
        action="BROADCAST", channel_name="/chat/1", event="hang", payload={}
    )
    await anyio.wait_all_tasks_blocked()
    session.cancel()
    await session.wait_ended()
    assert pond.left == ["connection_closed"]
    assert await pond.is_empty()


async def test_slow_consumer_is_closed_and_others_keep_receiving(make_pond: MakePond) -> None:
    pond = make_pond(outbox_frames=8)
    slow = await pond.join_websocket()
    quick = await pond.join_websocket()
    await overflow(pond, slow, quick)
    # The frame that was being written is the last one: the others were dropped for the close.
    assert (await slow.receive_json())["payload"] == {"text": "0"}
    await expect_aborted(slow)
    await quick.disconnect()


async def test_frames_already_taken_by_the_writer_are_dropped_for_an_abort(
    make_pond: MakePond,
) -> None:
    pond = make_pond(outbox_frames=8)
    stalled_at: dict[str, anyio.Event] = {"0": anyio.Event(), "1": anyio.Event()}

    async def stall_twice(message: Any, send: Any) -> None:
        if "said" in (message.get("text") or ""):
            await stalled_at[json.loads(message["text"])["payload"]["text"]].wait()
        await send(message)

    slow = await driver_with(pond, stall_twice).connect_websocket("/socket")
    quick = await pond.driver.connect_websocket("/socket")
    await join(slow)
    await join(quick)
    for number in range(20):
        await say(quick, str(number))
        await quick.receive_event_named("said")
        if number == 4:
            stalled_at["0"].set()  # the writer takes 1, 2, 3 and 4 at once, and waits within 1
            assert (await slow.receive_json())["payload"] == {"text": "0"}
    stalled_at["1"].set()
    assert (await slow.receive_json())["payload"] == {"text": "1"}
    await expect_aborted(slow)
    await quick.disconnect()


async def test_a_stalled_peer_does_not_hold_its_call(
    make_pond: MakePond, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pondsocket_asgi._transport.connection.ABORT_SECONDS", 0.01)
    pond = make_pond(outbox_bytes=1000)
    slow = await pond.join_websocket()
    slow.stop_reading()
    for _ in range(10):
        await say(slow, "x" * 200)
    await slow.wait_ended()
    assert not slow.closed
    assert await pond.is_empty()


async def test_a_frame_larger_than_the_outbox_passes_alone(make_pond: MakePond) -> None:
    pond = make_pond(outbox_bytes=1000)
    session = await pond.join_websocket()
    await anyio.wait_all_tasks_blocked()
    await say(session, "x" * 5000)
    assert len((await session.receive_event_named("said"))["payload"]["text"]) == 5000
    await session.disconnect()


@pytest.mark.parametrize("letter", ["a", "é", "\N{SNOWMAN}", "\N{GRINNING FACE}", "\ud800"])
async def test_close_reason_is_cut_to_123_bytes_of_utf8(pond: Pond, letter: str) -> None:
    session = await driver_refusing(pond, "1" + letter * 200).connect_websocket("/socket")
    reason = session.close_reason.encode()
    assert 119 < len(reason) <= 123
    assert session.close_reason.startswith("1")
    await session.disconnect()


def driver_refusing(pond: Pond, message: str) -> ASGITestDriver:
    async def refuse(ctx: Any) -> None:
        ctx.decline(401, message)

    pond.pond.create_endpoint("/refusing", refuse)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await pond.app(scope | {"path": "/refusing"}, receive, send)

    return ASGITestDriver(app)


async def test_nothing_is_closed_while_it_is_read_from(pond: Pond) -> None:
    """On one server a close deadlocks while a task waits in receive."""
    reading = 0
    log: list[tuple[str, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def counted_receive() -> Any:
            nonlocal reading
            reading += 1
            try:
                return await receive()
            finally:
                reading -= 1

        async def logged_send(message: Any) -> None:
            log.append((message["type"], reading))
            await send(message)

        await pond.app(scope, counted_receive, logged_send)

    session = await ASGITestDriver(app).connect_websocket("/socket")
    await join(session)
    await pond.pond.close()
    await session.wait_ended()
    assert log[0] == ("websocket.accept", 0)
    assert log[-1] == ("websocket.close", 0)


async def test_a_peer_is_not_slow_because_its_writer_has_not_had_its_turn(
    make_pond: MakePond,
) -> None:
    pond = make_pond(outbox_frames=8)
    session = await pond.join_websocket()
    (channel,) = await pond.lobby.list_channels()
    for number in range(100):  # at once: nothing of it can have been written in between
        await channel.broadcast("said", {"n": number})
    for number in range(100):
        assert (await session.receive_json())["payload"] == {"n": number}
    await session.disconnect()


async def test_a_peer_whose_writer_is_stuck_is_slow_at_the_bound(make_pond: MakePond) -> None:
    pond = make_pond(outbox_frames=8)
    session = await pond.join_websocket()
    (channel,) = await pond.lobby.list_channels()
    session.stop_reading()
    await channel.broadcast("said", {"n": 0})
    await anyio.wait_all_tasks_blocked()  # the writer waits in `send` with it
    for number in range(1, 8):
        await channel.broadcast("said", {"n": number})
    await anyio.wait_all_tasks_blocked()
    assert await channel.user_count() == 1
    await channel.broadcast("said", {"n": 8})
    await anyio.wait_all_tasks_blocked()
    assert await channel.user_count() == 0
    await session.wait_ended()


async def test_the_servers_own_restart_makes_no_client_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By uvicorn all WebSockets are closed at once; the first that says so begins the drain."""
    monkeypatch.setattr(websocket, "find_uvicorn", lambda receive: receive)
    setup = PondSetup()
    async with members(setup, "websocket", "ann", "bob") as connections:
        sessions = list(setup.endpoint.sessions)
        for connection in connections:
            connection.feed({"type": "websocket.disconnect", "code": 1012})
        for connection in connections:
            await connection.ended.wait()
        assert setup.pond.is_draining
    assert [session.close_code for session in sessions] == [CloseCode.NORMAL, CloseCode.NORMAL]
    assert "slow consumer" not in caplog.text
