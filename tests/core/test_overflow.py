"""Slow consumers in the log and in the metrics: logged once, counted always, never kept."""

import logging

import anyio
import pytest
from pondsocket import CloseCode, Counter, OutgoingContext
from pondsocket.testing import MemoryPeer, connect

from tests.core.members import settled
from tests.core.ponds import ROOM, PondSetup
from tests.core.slow_consumers import (
    build_with,
    counted,
    join_and_stall,
    numbers,
    overflow_of,
    tell,
)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "slow consumer" in r.getMessage()]


async def test_it_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    setup = build_with("drop_oldest")
    async with connect(setup.pond, "/socket?user=ann") as ann:
        await join_and_stall(setup, ann, 2)
        for _ in range(2):
            await tell(setup, *({"n": n} for n in range(10)))
            await ann.receive()
            assert len(warnings(caplog)) == 1
            ann.drain()
            assert warnings(caplog) == [
                "A slow consumer misses events from now on (user='ann').",
                "A slow consumer missed 8 events (user='ann').",
            ]
            assert not overflow_of(setup)._dropped
            caplog.clear()
    assert counted(setup)[Counter.DROPPED] == 16


@pytest.mark.parametrize("end", ["vanish", "close", "overflow", "cancel"])
async def test_nothing_is_kept_of_one_that_ends_while_it_is_behind(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    setup = build_with("drop_oldest")
    async with anyio.create_task_group() as tasks:
        ready = anyio.Event()
        scope = anyio.CancelScope()
        kept: list[MemoryPeer] = []

        async def ann() -> None:
            with scope:
                async with connect(setup.pond, "/socket?user=ann") as peer:
                    await join_and_stall(setup, peer, 2)
                    kept.append(peer)
                    ready.set()
                    await anyio.sleep_forever()

        tasks.start_soon(ann)
        await ready.wait()
        peer = kept.pop()
        await tell(setup, *({"n": n} for n in range(5)))
        assert list(overflow_of(setup)._dropped.values()) == [3]
        match end:
            case "vanish":
                peer.vanish()
            case "close":
                peer.session.close(CloseCode.DISCONNECTED)
            case "overflow":
                peer.session.overflow()
            case _:
                scope.cancel()
        await settled()
        assert warnings(caplog)[-1] == "A slow consumer missed 3 events (user='ann')."
        await tell(setup, {"n": 9})
        peer.drain()
        scope.cancel()
    assert not overflow_of(setup)._dropped
    assert not overflow_of(setup)._closing


def setup_that_waits() -> tuple[PondSetup, anyio.Event]:
    """Return a pond, and what its outgoing handler of the event `wait` waits for."""
    setup = build_with("drop_oldest")
    opened = anyio.Event()

    @setup.lobby.on_outgoing("wait")
    async def wait(ctx: OutgoingContext) -> None:
        await opened.wait()

    return setup, opened


async def test_a_chain_whose_member_ended_while_it_was_behind_keeps_nothing() -> None:
    """Frames that an outgoing handler lets go after the connection has ended are dropped."""
    setup, opened = setup_that_waits()
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 1)
        await tell(setup, *({"n": n} for n in range(3)))
        await setup.pond.channel("/socket", ROOM).broadcast("wait", {})
        await tell(setup, *({"n": n} for n in range(3)))
        assert counted(setup)[Counter.DROPPED] == 2
        ann.session.close(CloseCode.DISCONNECTED)
        opened.set()
        await settled()
        assert counted(setup)[Counter.DROPPED] == 2
    assert not overflow_of(setup)._dropped


async def test_frames_behind_a_late_one_are_dropped_as_any() -> None:
    setup, opened = setup_that_waits()
    async with connect(setup.pond, "/socket") as ann:
        await join_and_stall(setup, ann, 2)
        await setup.pond.channel("/socket", ROOM).broadcast("wait", {})
        await tell(setup, *({"n": n} for n in range(5)))
        assert not ann.unread
        opened.set()
        await settled()
        assert numbers(ann) == [3, 4]
    assert counted(setup)[Counter.DROPPED] == 4
