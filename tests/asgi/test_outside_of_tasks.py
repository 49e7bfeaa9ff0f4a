"""The loop itself writes at the end of a turn, outside of every task: nothing may stop it there."""

from typing import Any

import anyio
import pytest

from tests.asgi.asgi_connections import (
    KINDS,
    ROOM,
    ASGIConnection,
    Kind,
    PondSetup,
    count_resets,
    loop_of,
    members,
    turns,
)

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def anyio_backend(monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """Return the loop in which a turn's frames are batched, and each push sends by itself."""
    count_resets(monkeypatch)
    return loop_of("stepped", monkeypatch)


async def tell(setup: PondSetup, *numbers: int) -> None:
    """Broadcast each of these numbers to the room, in a turn of its own."""
    for number in numbers:
        await setup.pond.channel("/socket", ROOM).broadcast("tick", {"n": number})
        await turns()


@pytest.mark.parametrize(
    "trouble", [ASGIConnection.fail, ASGIConnection.stall], ids=["fails", "stalls"]
)
async def test_a_send_in_trouble_keeps_nothing_from_the_others(kind: Kind, trouble: Any) -> None:
    setup = PondSetup(write_timeout=10)
    async with members(setup, kind, "ann", "bob", "cat") as (ann, *others):
        trouble(ann)
        await tell(setup, 1, 2, 3)
        assert [connection.numbers() for connection in others] == [[1, 2, 3]] * 2
        with anyio.fail_after(30):
            await ann.ended.wait()
        assert await setup.users() == 2


@pytest.mark.parametrize("delay", [0, 5])
async def test_nor_does_a_full_outbox(kind: Kind, delay: float) -> None:
    setup = PondSetup(outbox_frames=2, write_timeout=10, presence_leave_delay=delay)
    async with members(setup, kind, "ann", "bob", "cat") as (ann, *others):
        ann.stall()
        await tell(setup, *range(9))
        assert [connection.numbers() for connection in others] == [[*range(9)]] * 2
        with anyio.fail_after(30):
            await ann.ended.wait()
        await anyio.sleep(delay)
        assert await setup.users() == 2
