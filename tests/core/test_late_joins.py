"""Joins in a channel whose history answers late: while it is read, and what was read too early."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any, Final

import anyio
import pytest
from pondsocket import (
    EventContext,
    JoinContext,
    LeaveReason,
    Options,
    OutgoingContext,
    Position,
    ServerMessage,
)
from pondsocket._channel.channel import ChannelMember
from pondsocket._channel.member import MemberState
from pondsocket.testing import MemoryPeer
from pondsocket_common import Acknowledged, Refused

from tests.core.histories import heard, reconnect, said
from tests.core.late_store import LateStore, build_late
from tests.core.members import LeaveLog, channel_of, member, settled
from tests.core.ponds import ROOM, PondSetup, error_records
from tests.virtual_time import jumping_loops

# Where time matters, it jumps: no test waits for it.
anyio_backend = jumping_loops

START: Final = Position("epoch1", 0)


def begin(setup: PondSetup, store: LateStore, *numbers: int) -> None:
    """Begin as many appends."""
    for number in numbers:
        before = len(store.appends)
        setup.pond.channel("/socket", ROOM).broadcast_nowait("said", {"n": number})
        assert len(store.appends) == before + 1 or store.appends_at_once


def ask(peer: MemoryPeer, since: Position | None) -> str:
    """Ask to join, and do not wait for the answer."""
    peer.drain()
    return peer.send("JOIN_CHANNEL", ROOM, "join", since=since)


def acknowledged(messages: list[ServerMessage]) -> Acknowledged:
    """Return the acknowledgement, which is the first."""
    payload = messages[0].payload
    assert isinstance(payload, Acknowledged)
    return payload


async def only_member(setup: PondSetup) -> ChannelMember:
    (found,) = (await channel_of(setup)).roster
    return found


@asynccontextmanager
async def late_room(
    join: Any = None, **options: Any
) -> AsyncIterator[tuple[PondSetup, LateStore, MemoryPeer]]:
    """Yield a pond, its store, and a client that has not joined."""
    setup, store = build_late(join, **options) if join else build_late(**options)
    with anyio.fail_after(60):
        async with setup.pond, reconnect(setup) as ann:
            yield setup, store, ann


# --- each message once, in order, from the acknowledged position ----------------------------------

# The store's work on two appends and a read, each of which it does before it answers.
STEPS: Final = ("1 is kept", "1 is known", "2 is kept", "2 is known", "it reads", "it has read")
ORDERS: Final = [
    order
    for order in permutations(range(6))
    if all(order.index(each) < order.index(each + 1) for each in (0, 2, 4))
]


@pytest.mark.parametrize("since", [START, None], ids=["recovers", "begins"])
@pytest.mark.parametrize("order", ORDERS, ids=["-".join(map(str, order)) for order in ORDERS])
async def test_a_member_that_joins_meanwhile_gets_each_message_once_and_in_order(
    order: tuple[int, ...], since: Position | None
) -> None:
    async with late_room() as (setup, store, ann):
        begin(setup, store, 1, 2)
        ask(ann, since)
        await store.asked(reads=1)
        calls = [*store.appends, store.reads[0]]
        for step in order:
            call: Any = calls[step // 2]
            call.apply() if step % 2 == 0 else call.answer()
            await settled()
        begin(setup, store, 3)
        store.answer_all()
        await settled()
        messages = ann.drain()
        answer = acknowledged(messages)
        assert answer.recovered is (None if since is None else True)
        offsets = [message.position.offset for message in messages[1:] if message.position]
        assert answer.offset is not None
        assert since is None or answer.offset == 0
        assert offsets == [*range(answer.offset + 1, 4)]
        assert (await only_member(setup)).state is MemberState.LIVE


async def test_a_message_that_another_node_appends_meanwhile_is_read_and_makes_no_gap() -> None:
    async with late_room() as (setup, store, ann):
        ask(ann, START)
        await store.asked(reads=1)
        store.reads[0].apply()
        store.append_elsewhere(ROOM)
        begin(setup, store, 2)
        store.appends[0].answer()
        await settled()
        store.reads[0].answer()
        await store.asked(reads=2)  # between what it has read and what was emitted, one is missing
        store.reads[1].answer()
        await settled()
        messages = ann.drain()
        assert [said(message) for message in messages[1:]] == [0, 2]


async def test_a_store_that_begins_anew_while_it_is_read_makes_no_unnoticed_gap() -> None:
    async with late_room() as (setup, store, ann):
        ask(ann, START)
        await store.asked(reads=1)
        store.reads[0].apply()
        store.begin_anew()
        begin(setup, store, 1)
        store.appends[0].answer()
        await settled()
        store.reads[0].answer()
        await store.asked(reads=2)
        store.reads[1].answer()
        await settled()
        answer = acknowledged(ann.drain())
        assert (answer.epoch, answer.offset, answer.recovered) == ("epoch2", 1, False)


async def test_a_member_that_has_read_a_new_epoch_gets_what_is_emitted_of_the_former() -> None:
    async with late_room() as (setup, store, ann):
        begin(setup, store, 1, 2)
        store.appends[0].apply()
        store.begin_anew()
        store.appends[1].apply()
        ask(ann, Position("epoch2", 0))
        await store.asked(reads=1)
        store.reads[0].answer()
        await settled()
        assert heard(ann)[1:] == [2]
        store.appends[0].answer()
        await settled()
        assert heard(ann) == [1]
        store.appends[1].answer()
        await settled()
        assert heard(ann) == []
        begin(setup, store, 3)
        store.answer_all()
        await settled()
        assert heard(ann) == [3]


# --- what it has read too early -------------------------------------------------------------------


async def join_ahead(setup: PondSetup, store: LateStore, peer: MemoryPeer) -> None:
    """Join with a read that shows the message 1, whose append goes on."""
    begin(setup, store, 1)
    store.appends[0].apply()
    ask(peer, START)
    await store.asked(reads=1)
    store.reads[0].answer()
    await settled()


async def test_replies_and_presence_do_not_wait_for_what_was_read_early() -> None:
    async with late_room() as (setup, store, ann):

        @setup.lobby.on_message("ask")
        async def answer(ctx: EventContext) -> None:
            await ctx.reply("answer")
            await ctx.track({"who": "ann"})
            await ctx.broadcast("unkept", history=False)

        await join_ahead(setup, store, ann)
        assert (await only_member(setup)).state is MemberState.AHEAD
        assert heard(ann) == ["ACKNOWLEDGE", 1]
        ann.send("BROADCAST", ROOM, "ask")
        await settled()
        assert heard(ann) == ["answer", "JOIN", "unkept"]
        begin(setup, store, 2)
        for append in reversed(store.appends):
            append.answer()
        await settled()
        assert heard(ann) == [2]
        assert (await only_member(setup)).state is MemberState.LIVE


async def test_what_was_read_early_is_not_sent_again_if_its_append_fails() -> None:
    async with late_room() as (setup, store, ann):
        await join_ahead(setup, store, ann)
        store.appends[0].fail()
        begin(setup, store, 2)
        store.appends[1].answer()
        await settled()
        assert heard(ann) == ["ACKNOWLEDGE", 1, 2]


@pytest.mark.parametrize("is_async", [True, False])
async def test_outgoing_handlers_see_once_what_was_read_early(is_async: bool) -> None:
    seen: list[object] = []

    def see(ctx: OutgoingContext) -> None:
        seen.append(ctx.get_payload()["n"])

    async def see_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        see(ctx)

    setup, store = build_late()
    setup.lobby.on_outgoing("said", see_later if is_async else see)
    with anyio.fail_after(60):
        async with setup.pond, reconnect(setup) as ann:
            await join_ahead(setup, store, ann)
            begin(setup, store, 2, 3)
            store.answer_all()
            await settled()
            assert heard(ann) == ["ACKNOWLEDGE", 1, 2, 3]
            assert seen == [1, 2, 3]


@pytest.mark.parametrize("how", ["leave", "evict", "vanish", "join again"])
async def test_a_member_that_is_ahead_may_end(how: str) -> None:
    async with late_room() as (setup, store, ann):
        await join_ahead(setup, store, ann)
        found = await only_member(setup)
        ann.drain()
        if how == "leave":
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
        elif how == "evict":
            await setup.pond.channel("/socket", ROOM).evict_user("ann")
        elif how == "vanish":
            ann.vanish()
        else:
            ask(ann, Position("epoch1", 1))
            await store.asked(reads=2)
            store.reads[1].answer()
        await settled()
        assert found.state is MemberState.ENDED
        assert found.history_sink is None
        begin(setup, store, 2)
        store.answer_all()
        await settled()
        expected = {"leave": ["EXIT_ACKNOWLEDGE"], "evict": ["EVICTED"], "vanish": []}
        assert heard(ann) == expected.get(how, ["ACKNOWLEDGE", 2])


async def test_a_slow_member_reads_a_late_history_as_it_has_room() -> None:
    setup, store = build_late()
    store.appends_at_once = True
    with anyio.fail_after(60):
        async with setup.pond, reconnect(setup, capacity=8) as ann:
            begin(setup, store, *range(1, 41))
            store.appends_at_once = False
            begin(setup, store, 41)
            store.appends[0].apply()
            ask(ann, START)
            await store.asked(reads=1)
            store.reads[0].answer()
            await settled()
            store.appends[0].answer()
            begin(setup, store, 42)
            store.answer_all()
            await settled()
            got = [said(await ann.receive()) for _ in range(43)]
            assert got == ["ACKNOWLEDGE", *range(1, 43)]
            begin(setup, store, 43)
            store.answer_all()
            await settled()
            assert heard(ann) == [43]
            assert ann.closed is None


# --- what happens while it reads ------------------------------------------------------------------


async def test_a_leave_and_a_second_join_wait_for_the_read() -> None:
    async with late_room() as (setup, store, ann):
        ask(ann, START)
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        ann.send("JOIN_CHANNEL", ROOM, "join", since=START)
        ann.send("JOIN_CHANNEL", ROOM, "join", since=START)
        for count in (1, 2, 3):
            await store.asked(reads=count)
            assert len(store.reads) == count
            begin(setup, store, count)
            store.answer_all()
        await settled()
        first, second, third = [[*range(1, count + 1)] for count in (1, 2, 3)]
        joined = "ACKNOWLEDGE"
        assert heard(ann) == [joined, *first, "EXIT_ACKNOWLEDGE", joined, *second, joined, *third]
        assert (await channel_of(setup)).channel_history.open().members == 1  # type: ignore[union-attr]


async def test_an_eviction_before_the_join_does_not_end_it() -> None:
    async with late_room() as (setup, store, ann):
        ask(ann, None)
        await store.asked(reads=1)
        await setup.pond.channel("/socket", ROOM).evict_user("ann")
        store.answer_all()
        await settled()
        assert heard(ann) == ["ACKNOWLEDGE"]


async def test_a_client_that_is_gone_before_the_read_has_not_joined() -> None:
    setup, store = build_late()
    left = LeaveLog()
    setup.lobby.on_leave(left)
    with anyio.fail_after(60):
        async with reconnect(setup) as ann:
            ask(ann, START)
            await store.asked(reads=1)
            channel = setup.lobby.open_channel(ROOM, {})
            assert channel.channel_history is not None
            assert channel.channel_history.recordings is not None
        assert store.reads[0].is_cancelled
        assert channel.channel_history.recordings is None
        assert len(channel.roster) == 0
        assert left.seen == []


async def test_a_read_that_takes_longer_than_a_join_may_is_answered_with_408() -> None:
    async with late_room() as (setup, store, ann):
        request = ask(ann, START)
        answer = await ann.answer(request, wait=60)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 408
        assert store.reads[0].is_cancelled
        assert await setup.lobby.list_channels() == []


async def test_a_read_that_fails_is_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    async with late_room() as (setup, store, ann):
        request = ask(ann, START)
        await store.asked(reads=1)
        store.reads[0].fail()
        answer = await ann.answer(request)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 500
        assert await setup.lobby.list_channels() == []
        assert len(error_records(caplog)) == 1


async def test_a_decline_while_it_reads_is_the_decision(caplog: pytest.LogCaptureFixture) -> None:
    async def join(ctx: JoinContext) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.accept)
            await store.asked(reads=1)
            await ctx.decline()
            store.answer_all()

    setup, store = build_late(join)
    with anyio.fail_after(60):
        async with reconnect(setup) as ann:
            answer = await ann.answer(ask(ann, None))
            assert isinstance(answer.payload, Refused)
            await settled()
            assert await setup.lobby.list_channels() == []
            assert len(error_records(caplog)) == 1


async def test_a_member_joins_again_and_is_a_member_while_it_reads() -> None:
    setup, store = build_late()
    left = LeaveLog()
    setup.lobby.on_leave(left)
    store.reads_at_once = True
    with anyio.fail_after(60):
        async with setup.pond, member(setup, "ann") as ann:
            store.reads_at_once = False
            ask(ann, START)
            await store.asked(reads=1)
            begin(setup, store, 1)
            store.appends[0].answer()
            await settled()
            assert heard(ann) == [1]
            store.answer_all()
            await settled()
            assert heard(ann) == ["ACKNOWLEDGE", 1]
            assert left.seen == []
    assert left.seen == [("ann", LeaveReason.CONNECTION_CLOSED)]


async def test_a_join_without_a_time_limit_may_read_as_long_as_it_takes() -> None:
    setup, store = build_late(pond_options=Options(join_timeout=None))
    async with reconnect(setup) as ann:
        ask(ann, None)
        await store.asked(reads=1)
        await anyio.sleep(3_600)
        store.answer_all()
        await settled()
        assert heard(ann) == ["ACKNOWLEDGE"]


async def test_a_join_that_is_accepted_by_a_returned_value_has_the_same_time_limit() -> None:
    async def join(_ctx: JoinContext) -> dict[str, str]:
        return {"motd": "hi"}

    async with late_room(join) as (setup, store, ann):
        answer = await ann.answer(ask(ann, START), wait=60)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 408
        assert store.reads[0].is_cancelled
        assert await setup.lobby.list_channels() == []


async def test_what_is_said_before_a_join_reaches_a_member_that_joins_meanwhile() -> None:
    async def join(ctx: JoinContext) -> None:
        if ctx.user.id == "bob":
            await ctx.broadcast_from("said", {"n": 1})
            await ctx.decline()
        else:
            await ctx.accept()

    setup, store = build_late(join)
    store.reads_at_once = True
    with anyio.fail_after(60):
        async with setup.pond, reconnect(setup) as ann, reconnect(setup, "bob") as bob:
            refused = ask(bob, None)
            ann.drain()
            await store.asked(appends=1)
            assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
            store.answer_all()
            await bob.answer(refused)
            assert heard(ann) == [1]
