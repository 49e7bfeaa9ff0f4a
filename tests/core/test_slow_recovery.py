"""Members that come back and read slowly, and outgoing handlers that see what is replayed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel
import pytest
from pondsocket import CloseCode, OutgoingContext, Position
from pondsocket._history.log import HistoryLog
from pondsocket.testing import MemoryPeer

from tests.core.histories import build_with_history, heard, position_of, reconnect, said, say
from tests.core.members import member, settled
from tests.core.ponds import ROOM, PondSetup, accept_join


async def setup_with_messages(count: int, *, size: int = 100) -> tuple[PondSetup, Position]:
    """Return a pond in which the numbers up to `count` were said, and the position before them."""
    setup = build_with_history(size=size)
    since = await position_of(setup)
    await say(setup, *range(1, count + 1))
    return setup, since


@asynccontextmanager
async def behind(setup: PondSetup, since: Position, *, capacity: int) -> AsyncIterator[MemoryPeer]:
    """Yield a member that has more history to read than its outbox holds."""
    async with reconnect(setup, capacity=capacity) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        yield ann


# --- slowly ---------------------------------------------------------------------------------------


async def test_a_history_larger_than_the_outbox_neither_closes_nor_blocks_who_asks_for_it() -> None:
    setup, since = await setup_with_messages(90)
    async with reconnect(setup, capacity=6) as ann:
        ann.drain()
        answer = await ann.join(ROOM, since=since)
        assert answer.payload.recovered is True
        assert 0 < ann.pending <= 3
        await say(setup, 91)
        await say(setup, 92, history=False)
        ann.send("BROADCAST", ROOM, "say", {"n": 93})
        await settled()
        assert ann.pending <= 3
        assert [said(await ann.receive()) for _ in range(93)] == [*range(1, 94)]
        await say(setup, 94)
        assert heard(ann) == [94]
        assert ann.closed is None


async def test_a_member_so_slow_that_the_history_outruns_it_is_closed_and_may_come_back() -> None:
    setup, since = await setup_with_messages(10, size=16)
    async with behind(setup, since, capacity=4) as ann:
        await say(setup, *range(11, 41))
        got = [said(await ann.receive()) for _ in range(ann.pending)]
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
    assert got == [*range(1, len(got) + 1)]


async def test_a_latest_value_that_changes_does_not_close_who_joins_with_half_an_outbox_full() -> (
    None
):
    setup = build_with_history(size=1)
    setup.endpoint.create_channel("/hall/:id", accept_join)
    await say(setup, 1)
    async with reconnect(setup, capacity=10) as ann:
        ann.drain()
        await ann.join("/hall/1")
        for number in range(5):
            await setup.pond.channel("/socket", "/hall/1").broadcast("x", {"n": -number})
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        await say(setup, 2, 3)
        assert heard(ann) == [0, -1, -2, -3, -4, "ACKNOWLEDGE", 1, 2, 3]
        assert ann.closed is None


async def test_a_member_that_leaves_while_it_is_behind_is_told_so_and_gets_no_more() -> None:
    setup, since = await setup_with_messages(50)
    async with behind(setup, since, capacity=4) as ann, member(setup, "bob") as bob:
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        got = heard(ann)
        assert got[-1] == "EXIT_ACKNOWLEDGE"
        assert got[:-1] == [*range(1, len(got))]
        await say(setup, 51)
        assert (heard(ann), heard(bob)) == ([], [51])


@pytest.mark.parametrize("again", [False, True])
async def test_a_member_that_goes_with_more_waiting_than_it_can_take_is_closed(again: bool) -> None:
    setup, since = await setup_with_messages(50)
    async with behind(setup, since, capacity=6) as ann, member(setup, "bob") as bob:
        await say(setup, *range(10), history=False)
        bob.drain()
        if again:
            ann.send("JOIN_CHANNEL", ROOM, "join", since=since)
        else:
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
        await settled()
        assert await setup.pond.channel("/socket", ROOM).user_count() == 1
        await say(setup, 51)
        assert heard(bob) == [51]
    log = (
        setup.lobby.history_store.find(ROOM, 0.0) if setup.lobby.history_store is not None else None
    )
    assert isinstance(log, HistoryLog)
    assert not log.is_in_use


async def test_a_member_that_is_evicted_while_it_is_behind_is_told_so() -> None:
    setup, since = await setup_with_messages(50)
    async with behind(setup, since, capacity=4) as ann:
        await setup.pond.channel("/socket", ROOM).evict_user("ann", "Enough.")
        assert heard(ann)[-1] == "EVICTED"


async def test_a_member_that_joins_again_while_it_is_behind_begins_where_it_asks_to() -> None:
    setup, since = await setup_with_messages(50)
    async with behind(setup, since, capacity=6) as ann:
        again = ann.send("JOIN_CHANNEL", ROOM, "join", since=Position(since.epoch, 48))
        await settled()
        got = []
        while (message := await ann.receive()).request_id != again:
            got.append(said(message))
        assert got == [*range(1, len(got) + 1)]
        assert [said(await ann.receive()) for _ in range(2)] == [49, 50]
        await say(setup, 51)
        assert heard(ann) == [51]


# --- outgoing handlers ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("capacity", [6, 1_000])
async def test_what_is_replayed_passes_the_outgoing_handlers_as_what_is_live(
    is_async: bool, capacity: int
) -> None:
    setup = build_with_history()

    def look(ctx: OutgoingContext) -> None:
        number = ctx.get_payload()["n"]
        if number % 3 == 0:
            ctx.block()
        elif number % 3 == 1:
            ctx.transform({"n": f"{number} for {ctx.get_user().id}"})

    async def look_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        look(ctx)

    setup.lobby.on_outgoing("said", look_later if is_async else look)
    since = await position_of(setup)
    await say(setup, *range(1, 31))
    async with reconnect(setup, capacity=capacity) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        await say(setup, 31, 32)
        await say(setup, 34, history=False)
        await say(setup, 35)
        expected = [n if n % 3 == 2 else f"{n} for ann" for n in range(1, 36) if n % 3]
        messages = [await ann.receive() for _ in expected]
        await settled()
        assert ann.pending == 0
    assert [said(message) for message in messages] == expected
    positions = [message.position.offset for message in messages if message.position is not None]
    assert positions == [n for n in range(1, 33) if n % 3] + [33]


async def test_a_broadcast_nested_deeper_than_a_client_may_leaves_every_member_listening() -> None:
    setup = build_with_history()
    setup.lobby.on_outgoing("said", lambda _ctx: None)
    since = await position_of(setup)
    deep: dict[str, Any] = {"n": 1}
    for _ in range(100):
        deep = {"n": 1, "wrapped": deep}
    await setup.pond.channel("/socket", ROOM).broadcast("said", deep)
    await say(setup, 2)
    async with reconnect(setup) as ann:
        ann.drain()
        answer = await ann.join(ROOM, since=since)
        assert answer.payload.recovered is True
        await say(setup, 3)
        assert heard(ann) == [1, 2, 3]
    history = await setup.pond.channel("/socket", ROOM).history()
    assert history is not None
    assert history[0].payload == deep
