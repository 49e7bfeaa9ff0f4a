"""An open event stream: what is written at once, and how it begins and ends."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode
from pondsocket_common import SSEDecoder

from tests.asgi.asgi_connections import ASGIConnection, PondSetup, connection_loops, members, turns

CHUNK = 65_536


pytestmark = pytest.mark.usefixtures("resets")
anyio_backend = connection_loops


async def test_the_first_thing_written_is_a_comment_and_the_greeting_with_it() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        first = ann.bodies()[0]
        assert first.startswith(b":")
        (event,) = SSEDecoder().feed(first)
        assert json.loads(event.data)["event"] == "CONNECTION"


async def stall_in_a_write(setup: PondSetup, ann: ASGIConnection) -> int:
    """Have a write hang; gives how many have been made before it."""
    ann.stall()
    await setup.tell(-1)
    await turns()
    return len(ann.bodies())


async def test_what_waits_is_written_at_once() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        before = await stall_in_a_write(setup, ann)
        await setup.tell(*range(100))
        ann.resume()
        await turns()
        assert len(ann.bodies()) == before + 2
        assert ann.numbers() == list(range(-1, 100))


async def test_a_chunk_ends_with_the_frame_that_reaches_its_size() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        before = await stall_in_a_write(setup, ann)
        await setup.tell(*range(30), size=10_000)
        ann.resume()
        await turns(100)
        sizes = [len(body) for body in ann.bodies()[before + 1 :]]
        assert len(sizes) == 5
        assert all(CHUNK <= size < CHUNK + 10_500 for size in sizes[:-1])
        assert ann.numbers() == list(range(-1, 30))


async def test_a_frame_larger_than_a_chunk_passes_whole() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        before = len(ann.bodies())
        await setup.tell(1, 2, size=200_000)
        await turns(100)
        assert [len(body) // 100_000 for body in ann.bodies()[before:]] == [2, 2]
        assert ann.numbers() == [1, 2]


async def test_what_comes_while_a_chunk_is_written_follows_in_the_next() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        ann.stall()
        await setup.tell(1, 2)
        await turns()
        await setup.tell(3, 4)
        before = len(ann.bodies())
        ann.resume()
        await turns()
        assert len(ann.bodies()) == before + 2
        assert ann.numbers() == [1, 2, 3, 4]


def retries(connection: ASGIConnection) -> list[int]:
    """Return the times after which the reader was told to reconnect, in milliseconds."""
    lines = b"".join(connection.bodies()).decode().split("\n")
    return [int(line.removeprefix("retry: ")) for line in lines if line.startswith("retry: ")]


@pytest.mark.parametrize("end", ["drain", "disconnect", "close", "delete"])
async def test_only_a_restart_says_when_to_come_back(end: str) -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        match end:
            case "drain":
                setup.pond.begin_drain()
            case "disconnect":
                await setup.pond.disconnect(user_id="ann")
            case "close":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(setup.pond.close)
            case _:
                (session,) = setup.endpoint.sessions
                session.close(CloseCode.NORMAL)
        await ann.ended.wait()
        assert ann.is_closed
        first, *later = retries(ann)
        assert 1_000 <= first <= 4_000
        if end != "drain":
            assert not later
            return
        (after,) = later
        # Its handlers may run for 5 s after the window, which is 10 ms for one connection.
        assert 6_010 <= after <= 9_010
        assert ann.goodbyes() == [1012]
        assert ann.bodies()[-1] == b""  # it was told before


async def test_a_client_that_comes_into_a_drain_is_told_both_at_the_end() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann"):
        pass
    ann = ASGIConnection(setup, "sse")
    async with anyio.create_task_group() as tasks:
        opened = setup.endpoint.routing.opened

        def drain_first(*arguments: Any, **named: Any) -> None:
            setup.pond.begin_drain()  # after it was admitted, before it is served
            opened(*arguments, **named)

        setup.endpoint.routing.opened = drain_first  # type: ignore[method-assign]
        tasks.start_soon(ann.run)
        await ann.ended.wait()
    assert ann.goodbyes() == [1012]
    assert ann.is_closed
    assert ann.bodies()[-1].startswith(b"retry: ")
    assert len(retries(ann)) == 2


async def test_the_times_to_come_back_differ() -> None:
    setup = PondSetup()
    users = [f"user{number}" for number in range(12)]
    async with members(setup, "sse", *users) as connections:
        await setup.pond.drain()
        for connection in connections:
            await connection.ended.wait()
        for place in (0, 1):  # after a cut, and after the drain
            assert len({retries(connection)[place] for connection in connections}) > 6


async def test_a_goodbye_is_the_last_event_and_the_end_of_the_stream() -> None:
    setup = PondSetup()
    async with members(setup, "sse", "ann") as (ann,):
        await setup.tell(1, 2)
        await setup.pond.disconnect(user_id="ann", reason="enough")
        await ann.ended.wait()
        assert ann.events()[-3:] == ["tick", "tick", "GOODBYE"]
        assert ann.sent[-1]["more_body"] is False


async def test_comments_count_nothing_against_the_bound(resets: list[str]) -> None:
    setup = PondSetup(outbox_frames=4, outbox_bytes=10_000, sse_keepalive_seconds=1)
    async with members(setup, "sse", "ann") as (ann,):
        await anyio.sleep(100)
        (outbox,) = setup.heartbeat._beating
        assert outbox.pending == 0  # type: ignore[attr-defined]
        assert ann.bodies()[-1].startswith(b":")
    assert resets == []
