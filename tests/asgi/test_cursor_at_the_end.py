"""The cursor of a stream that ends, is refused, or on which nothing moves for long."""

import json
from types import SimpleNamespace
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from pondsocket import History
from pondsocket.testing import FakeClock
from pondsocket_asgi._resume import positions as resume_positions
from pondsocket_asgi._resume.cursor import MAX_AGE_SECONDS, CursorEntry, CursorKeys
from pondsocket_asgi._resume.positions import Positions
from pondsocket_common import Position, SSEDecoder

from tests.asgi.asgi_connections import ASGIConnection, PondSetup, turns

NAME: Final = "/kept/1"


def keeping() -> PondSetup:
    """Return a setup with a room that has a history."""
    setup = PondSetup()
    setup.endpoint.create_channel("/kept/:id", setup.on_join, history=History())
    return setup


def last_id(connection: ASGIConnection) -> str:
    """Return what a browser would come back with."""
    decoder = SSEDecoder()
    for body in connection.bodies():
        decoder.feed(body)
    return decoder.last_event_id


def read(setup: PondSetup, cursor: str) -> list[CursorEntry]:
    found = setup.app._shared.cursor_keys.signer("/socket").read(cursor, 0.0)
    assert isinstance(found, list)
    return found


async def joined(setup: PondSetup) -> None:
    await turns()
    message = {"action": "JOIN_CHANNEL", "event": "join", "channelName": NAME}
    body = json.dumps({**message, "requestId": "r", "payload": {}}).encode()
    (session,) = setup.endpoint.sessions
    assert session.post(body) is None
    await turns()


async def test_what_is_written_out_after_the_end_does_not_take_the_cursor_back() -> None:
    setup = keeping()
    channel = setup.pond.channel("/socket", NAME)
    ann = ASGIConnection(setup, "sse")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ann.run)
        await joined(setup)
        ann.stall()
        await channel.broadcast("tick", {"n": 1})
        await turns()
        await channel.broadcast("tick", {"n": 2})
        setup.pond.begin_drain()
        with anyio.fail_after(5):
            while len(setup.endpoint.sessions):  # its turn in the drain comes almost at once
                await anyio.lowlevel.checkpoint()
        ann.resume()
        await ann.ended.wait()
    assert ann.numbers() == [1, 2]
    (entry,) = read(setup, last_id(ann))
    assert (entry.name, entry.position.offset) == (NAME, 2)


async def test_a_client_that_comes_back_and_is_closed_at_once_keeps_its_cursor() -> None:
    setup = keeping()
    ann = ASGIConnection(setup, "sse")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ann.run)
        await joined(setup)
        ann.leave()
    cursor = last_id(ann)
    (entry,) = read(setup, cursor)

    opened, app = setup.endpoint.routing.opened, setup.app

    def drain_first(*arguments: Any, **named: Any) -> None:
        setup.pond.begin_drain()  # after it was admitted, before it is served
        opened(*arguments, **named)

    async def with_cursor(scope: Any, receive: Any, send: Any) -> None:
        named = [*scope["headers"], (b"last-event-id", cursor.encode())]
        await app({**scope, "headers": named}, receive, send)

    setup.endpoint.routing.opened = drain_first  # type: ignore[method-assign]
    setup.app = with_cursor  # type: ignore[assignment]
    again = ASGIConnection(setup, "sse")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again.run)
        await again.ended.wait()
    setup.app = app
    assert again.messages()[0]["payload"]["resumed"] == [NAME]
    assert again.goodbyes() == [1012]
    assert b"\nid: \n" not in b"".join(again.bodies())
    assert [*map(read, [setup] * 2, [cursor, last_id(again) or cursor])] == [[entry]] * 2


def test_a_stream_on_which_nothing_moves_says_its_cursor_again_before_it_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(1_000_000.0)
    monkeypatch.setattr(resume_positions, "time", SimpleNamespace(time=clock))
    keys = CursorKeys()
    signer = keys.signer("/socket")
    member = SimpleNamespace(wants_diffs=False, join_params={})
    session: Any = SimpleNamespace(
        path="/socket", is_open=True, memberships={NAME: member}, resuming=set(), names_removed=0
    )
    positions = Positions(session, keys)
    frame: Any = SimpleNamespace(channel=NAME, position=Position("e1", 7))
    positions.note(frame)
    cursor = positions.event_id()
    assert cursor is not None
    said, start = 0, clock()
    for _ in range(3 * MAX_AGE_SECONDS // 900):
        clock.advance(900.0)
        assert positions.is_due is (clock() % 3_600 == start % 3_600)
        again = positions.event_id()
        assert not positions.is_due
        if again is not None:
            said += 1
            cursor = again
        (entry,) = signer.read(cursor.decode(), clock() + MAX_AGE_SECONDS - 3_600)  # type: ignore[misc]
        assert entry.position == Position("e1", 7)
    assert said == 3 * 24
