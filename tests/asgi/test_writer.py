"""The writer: which client is slow, what is dropped, how a server may end a call."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, conflate

from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    connection_loops,
    members,
    overrun_member,
    turns,
)

pytestmark = [pytest.mark.parametrize("kind", KINDS), pytest.mark.usefixtures("resets")]
anyio_backend = connection_loops


# --- the bound --------------------------------------------------------------------------------


@asynccontextmanager
async def stalled_member(kind: Kind) -> AsyncIterator[tuple[PondSetup, ASGIConnection]]:
    """Yield a member whose next write hangs, with an outbox of four frames."""
    setup = PondSetup(outbox_frames=4)
    async with members(setup, kind, "ann") as (ann,):
        await turns()
        ann.stall()
        yield setup, ann


async def test_before_its_writer_has_had_a_turn_an_outbox_holds_sixteen_times_as_much(
    kind: Kind,
) -> None:
    async with stalled_member(kind) as (setup, ann):
        await setup.tell(*range(64))
        assert await setup.users() == 1
        ann.resume()
        await turns(300)
        assert ann.numbers() == list(range(64))

        ann.stall()
        await setup.tell(*range(65))
        assert await setup.users() == 0


async def test_the_same_in_bytes(kind: Kind) -> None:
    setup = PondSetup(outbox_bytes=2_600)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        await turns()
        for connection in (ann, bob):
            connection.stall()
        await setup.tell(*range(25), size=400)  # about 1,460 bytes of memory each
        assert await setup.users() == 2
        for connection in (ann, bob):
            connection.resume()
        await turns(100)
        assert ann.numbers() == bob.numbers() == list(range(25))
        for connection in (ann, bob):
            connection.stall()
        await setup.tell(*range(40), size=400)
        assert await setup.users() == 0


async def test_the_oldest_are_dropped_while_the_writer_hangs(kind: Kind) -> None:
    setup = PondSetup(policy="drop_oldest", outbox_frames=4, write_timeout=100)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        ann.stall()
        await setup.tell(0)
        await turns()
        for number in range(1, 20):
            await setup.tell(number)
            await turns()
        assert setup.endpoint.routing.overflow._dropped
        ann.resume()
        await turns(100)
        assert ann.numbers() == [0, 17, 18, 19]
        assert bob.numbers() == list(range(20))
        assert not setup.endpoint.routing.overflow._dropped
        await setup.tell(20)
        await turns()
        assert ann.numbers()[-1] == 20


async def test_what_was_batched_before_the_writers_turn_is_not_held_against_the_peer(
    kind: Kind,
) -> None:
    """On trio every send waits, so that many a push meets a writer at its work."""
    async with stalled_member(kind) as (setup, ann):
        await setup.tell(*range(60))
        await turns()
        await setup.tell(*range(60, 64))
        assert await setup.users() == 1
        ann.resume()
        await turns(300)
        assert ann.numbers() == list(range(64))
        # Once: this time the writer takes little, and waits with it.
        ann.stall()
        await setup.tell(64)
        await turns()
        await setup.tell(65, 66, 67)
        assert await setup.users() == 1
        await setup.tell(68)
        assert await setup.users() == 0


async def test_more_than_that_is_dropped_while_the_writer_hangs(kind: Kind) -> None:
    setup = PondSetup(policy="drop_oldest", outbox_frames=4, write_timeout=100)
    async with members(setup, kind, "ann") as (ann,):
        await turns()
        ann.stall()
        await setup.tell(*range(60))
        await turns()
        await setup.tell(*range(60, 100))
        ann.resume()
        await turns(300)
        # A chunk of the stream that the writer begins holds as many frames as were there then.
        begun = 1 if kind == "websocket" or ASGIConnection.is_trusted else 60
        assert ann.numbers() == [*range(begun), *range(100 - (64 - begun), 100)]
        assert await setup.users() == 1


async def test_only_the_latest_of_a_key_is_kept_while_the_writer_hangs(kind: Kind) -> None:
    def parity(event: str, payload: Mapping[str, Any]) -> int:
        return int(payload["n"]) % 2

    setup = PondSetup(policy=conflate(parity), outbox_frames=4, write_timeout=100)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(0)
        await turns()
        await setup.tell(*range(1, 20))
        ann.resume()
        await turns(100)
        assert ann.numbers()[0] == 0
        assert ann.numbers()[-2:] == [18, 19]
        assert len(ann.numbers()) <= 4


async def test_as_many_keys_as_there_is_room_for_are_kept_while_the_writer_hangs(
    kind: Kind,
) -> None:
    setup = PondSetup(policy=conflate("n"), outbox_frames=17, write_timeout=100)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(-1)
        await turns()
        (connection,) = setup.heartbeat._beating
        for number in range(200):
            await setup.tell(number % 16)
            assert connection._writer._queue.frames <= 19  # type: ignore[attr-defined]
        assert await setup.users() == 1
        ann.resume()
        await turns(100)
        assert ann.numbers()[0] == -1
        assert ann.numbers()[-16:] == [*range(8, 16), *range(8)]
        ann.stall()
        await setup.tell(-1)
        await turns()
        await setup.tell(*range(19))
        assert await setup.users() == 0


async def test_dropping_does_not_save_a_peer_that_takes_nothing_at_all(
    kind: Kind, resets: list[str]
) -> None:
    setup = PondSetup(policy="drop_oldest", outbox_frames=4, write_timeout=10)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        with anyio.move_on_after(60):
            for number in range(1_000):
                await setup.tell(number)
                await anyio.sleep(0.5)
                if ann.ended.is_set():
                    break
        assert ann.ended.is_set()
        assert resets == ["ann"]
        assert number < 30
        assert not setup.endpoint.routing.overflow._dropped


async def test_an_outbox_is_bounded_whatever_is_pushed(kind: Kind) -> None:
    setup = PondSetup(policy="drop_oldest", outbox_frames=8, outbox_bytes=3_000, write_timeout=100)
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(0)
        await turns()
        (connection,) = setup.heartbeat._beating
        for number in range(1, 200):
            await setup.tell(number, size=number % 7 * 100)
            assert connection._writer._queue.frames <= 8  # type: ignore[attr-defined]
            assert connection._writer._queue.bytes <= 3_000  # type: ignore[attr-defined]
        ann.resume()
        await turns(100)
        assert connection._writer._queue.frames == connection._writer._queue.bytes == 0  # type: ignore[attr-defined]
        assert ann.numbers()[-1] == 199


# --- cancellation -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(12))
async def test_the_server_may_cancel_the_call_at_every_await(kind: Kind, place: int) -> None:
    setup = PondSetup()
    ann, bob = ASGIConnection(setup, kind, "ann"), ASGIConnection(setup, kind, "bob")
    left = place

    async def counting(message: Any) -> None:
        nonlocal left
        if left == 0:
            ann.scope.cancel()
        left -= 1
        await ann.take(message)

    ann.send_with(counting)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bob.run)
        while "CONNECTION" not in bob.events():
            await anyio.lowlevel.checkpoint()
        await bob.join()
        tasks.start_soon(ann.run)
        await turns()
        if not ann.ended.is_set():
            await ann.join()
            for number in range(8):
                await setup.tell(number)
                await turns()
            await setup.pond.disconnect(user_id="ann")
        with anyio.fail_after(20):
            await ann.ended.wait()
        assert await setup.endpoint.connection_count() == 1
        assert await setup.users() == 1
        assert len(setup.heartbeat._beating) == 1
        await setup.tell(99)
        await turns()
        assert bob.numbers()[-1] == 99
        bob.leave()
    assert not setup.heartbeat._beating


async def test_the_server_may_cancel_a_call_whose_send_hangs(kind: Kind) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(1)
        await turns()
        ann.scope.cancel()
        began = anyio.current_time()
        await ann.ended.wait()
        assert anyio.current_time() - began < 0.1
        assert ann.sending == 0
        assert await setup.users() == 0


async def test_the_server_may_cancel_a_call_that_is_being_given_up(
    kind: Kind, resets: list[str]
) -> None:
    async with overrun_member(kind) as (_, ann):
        await anyio.sleep(0.5)
        ann.scope.cancel()
        await ann.ended.wait()
        assert ann.sending == 0
        assert ann.error is None
    assert CloseCode.SLOW_CONSUMER not in ann.goodbyes()
