"""Broadcasts in a channel whose history answers late, and out of turn."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import permutations
from types import MappingProxyType
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup
from pondsocket import (
    ChannelHandle,
    EventContext,
    OutgoingContext,
    PondError,
    Position,
    UsageError,
)
from pondsocket._channel.late import APPEND_SECONDS
from pondsocket._history.emission import MOST_UNDER_WAY
from pondsocket.testing import MemoryPeer
from pondsocket_common import Fault, PresenceMode

from tests.core.histories import heard, position_of, reconnect, rejoin, said
from tests.core.late_store import LateStore, build_late
from tests.core.members import channel_of, member, members, settled
from tests.core.ponds import ROOM, PondSetup, error_records
from tests.virtual_time import jumping_loops

# Where time matters, it jumps: no test waits for it.
anyio_backend = jumping_loops

Call = Callable[[], Coroutine[Any, Any, object]]
ORDERS: Final = [*permutations(range(4))]


def handle_of(setup: PondSetup) -> ChannelHandle:
    return setup.pond.channel("/socket", ROOM)


@asynccontextmanager
async def late_room() -> AsyncIterator[tuple[PondSetup, LateStore, MemoryPeer, MemoryPeer]]:
    """Yield a pond, its store, and the two members ann and bob, which have read nothing."""
    setup, store = build_late()
    store.reads_at_once = True
    with anyio.fail_after(5):
        async with members(setup, "ann", "bob") as (ann, bob):
            yield setup, store, ann, bob


async def begin(tasks: TaskGroup, store: LateStore, *calls: Call) -> None:
    """Start calls, one after the other, each when the append of the one before is under way."""
    for call in calls:
        tasks.start_soon(call)
        await store.asked(appends=len(store.appends) + 1)


def saying(setup: PondSetup, number: int) -> Call:
    return lambda: handle_of(setup).broadcast("said", {"n": number})


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("is_applied_in_turn", [True, False])
async def test_broadcasts_arrive_in_the_order_of_their_positions_however_they_are_answered(
    order: tuple[int, ...], is_applied_in_turn: bool
) -> None:
    setup, store = build_late()
    store.reads_at_once = True
    with anyio.fail_after(5):
        async with members(setup, "a", "b", "c", "d") as peers:
            for number, peer in enumerate(peers):
                peer.send("BROADCAST", ROOM, "say", {"n": number})
                await store.asked(appends=number + 1)
            places = range(4) if is_applied_in_turn else (3, 2, 1, 0)
            for place in places:
                store.appends[place].apply()
            for place in order:
                store.appends[place].answer()
                await settled()
            for peer in peers:
                messages = peer.drain()
                offsets = [each.position and each.position.offset for each in messages]
                assert [said(each) for each in messages] == [*places]
                assert offsets == [1, 2, 3, 4]


async def test_the_next_broadcast_is_emitted_while_later_ones_are_under_way() -> None:
    async with late_room() as (setup, store, ann, _), anyio.create_task_group() as tasks:
        await begin(tasks, store, *(saying(setup, number) for number in (1, 2, 3)))
        store.appends[0].answer()
        await settled()
        assert heard(ann) == [1]
        store.appends[1].answer()
        await settled()
        assert heard(ann) == [2]
        store.answer_all()


async def test_a_broadcast_waits_only_for_appends_that_began_before_it_had_its_position() -> None:
    async with late_room() as (setup, store, ann, _), anyio.create_task_group() as tasks:
        await begin(tasks, store, saying(setup, 1), saying(setup, 2))
        store.append_elsewhere(ROOM)  # this position is never sent here
        store.appends[1].answer()
        await settled()
        assert heard(ann) == []
        await begin(tasks, store, saying(setup, 3))
        store.appends[0].answer()
        await settled()
        assert heard(ann) == [2, 1]
        store.appends[2].answer()


async def test_an_append_that_fails_is_told_to_its_caller_and_holds_no_other() -> None:
    async with late_room() as (setup, store, ann, bob), anyio.create_task_group() as tasks:
        failures: list[BaseException] = []

        async def fail() -> None:
            with pytest.raises(ConnectionError) as failure:
                await handle_of(setup).broadcast("said", {"n": 1})
            failures.append(failure.value)

        await begin(tasks, store, fail, saying(setup, 2), saying(setup, 3))
        store.appends[0].apply()
        for place in (2, 1):
            store.appends[place].answer()
        await settled()
        await begin(tasks, store, saying(setup, 4))
        assert heard(ann) == []  # the first may be before them
        store.appends[0].fail()
        await settled()
        assert len(failures) == 1
        assert heard(ann) == heard(bob) == [3, 2]
        store.appends[3].answer()


async def test_an_append_that_is_never_answered_fails_and_holds_no_other_for_ever() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    async with member(setup, "ann") as ann, anyio.create_task_group() as tasks:
        started = anyio.current_time()

        async def fail() -> None:
            with pytest.raises(PondError, match="does not answer") as failure:
                await handle_of(setup).broadcast("said", {"n": 1})
            assert failure.value.code == 503

        await begin(tasks, store, fail, saying(setup, 2))
        store.appends[0].apply()
        store.appends[1].answer()
        assert (await ann.receive(wait=60)).payload == {"n": 2}
        assert anyio.current_time() - started >= APPEND_SECONDS


async def test_one_more_than_may_be_under_way_is_refused_and_none_is_lost() -> None:
    async with late_room() as (setup, store, ann, _), setup.pond:
        for number in range(MOST_UNDER_WAY):
            handle_of(setup).broadcast_nowait("said", {"n": number})
        with pytest.raises(PondError) as failure:
            await handle_of(setup).broadcast("said", {"n": -1})
        assert failure.value.code == 503
        with pytest.raises(PondError):
            handle_of(setup).broadcast_nowait("said", {"n": -1})
        ann.send("BROADCAST", ROOM, "say", {"n": -1})
        answer = await ann.receive()
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 503
        await settled()
        for append in store.appends:
            append.apply()
        for append in reversed(store.appends):
            append.answer()
        await settled()
        assert heard(ann) == [*range(MOST_UNDER_WAY)]
        assert len(store.appends) == MOST_UNDER_WAY


async def test_a_broadcast_that_is_answered_at_once_goes_behind_those_under_way() -> None:
    async with late_room() as (setup, store, ann, _), anyio.create_task_group() as tasks:
        await begin(tasks, store, saying(setup, 1))
        store.appends[0].apply()
        store.appends_at_once = True
        await handle_of(setup).broadcast("said", {"n": 2})
        await settled()
        assert heard(ann) == []
        store.appends[0].answer()
        await settled()
        assert heard(ann) == [1, 2]


async def test_what_an_outgoing_handler_broadcasts_goes_behind_what_it_intercepts() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    handle = handle_of(setup)

    @setup.lobby.on_outgoing("said")
    def once(ctx: OutgoingContext) -> None:
        if ctx.get_payload() == {"n": 1} and ctx.get_user().id == "ann":
            handle.broadcast_nowait("more", {"n": 3})

    with anyio.fail_after(5):
        async with members(setup, "ann", "bob") as peers, anyio.create_task_group() as tasks:
            await begin(tasks, store, saying(setup, 1), saying(setup, 2))
            for append in store.appends:
                append.apply()
            store.appends[1].answer()
            await settled()
            store.appends_at_once = True
            store.appends[0].answer()
            await settled()
            assert [heard(peer) for peer in peers] == [[1, 2, 3]] * 2


async def test_a_new_epoch_of_the_store_stops_nothing() -> None:
    async with late_room() as (setup, store, ann, _), anyio.create_task_group() as tasks:
        await begin(tasks, store, *(saying(setup, number) for number in (1, 2, 3, 4)))
        store.appends[0].apply()
        store.appends[1].apply()
        store.begin_anew()
        for place in (3, 1, 2, 0):
            store.appends[place].answer()
        await settled()
        assert sorted(heard(ann)) == [1, 2, 3, 4]  # type: ignore[type-var]


# --- audiences ------------------------------------------------------------------------------------


async def test_the_audience_is_of_those_who_are_members_when_it_is_emitted() -> None:
    async with late_room() as (setup, store, ann, bob), anyio.create_task_group() as tasks:
        handle = handle_of(setup)
        await begin(
            tasks,
            store,
            lambda: handle.broadcast_to("said", {"n": 1}, "ann", "cat"),
            lambda: handle.broadcast_from("said", {"n": 2}, "ann"),
            lambda: handle.broadcast_to("said", {"n": 3}),
        )
        async with member(setup, "cat") as cat:
            store.answer_all()
            await settled()
            assert (heard(ann), heard(bob), heard(cat)) == ([1], [2], [1, 2])


async def test_a_sender_that_joins_again_meanwhile_does_not_get_its_own() -> None:
    setup, store = build_late()
    store.reads_at_once = True

    @setup.lobby.on_message("others", concurrent=True)
    async def others(ctx: EventContext) -> None:
        await ctx.broadcast_from("said", {"n": 1})

    with anyio.fail_after(5):
        async with members(setup, "ann", "bob") as (ann, bob):
            ann.send("BROADCAST", ROOM, "others")
            await store.asked(appends=1)
            await ann.join(ROOM)
            store.answer_all()
            await settled()
            assert (heard(ann), heard(bob)) == ([], [1])


@pytest.mark.parametrize("is_async", [True, False])
async def test_outgoing_handlers_see_each_broadcast_once_as_it_was_sent(is_async: bool) -> None:
    setup, store = build_late()
    store.reads_at_once = True

    def change(ctx: OutgoingContext) -> None:
        number = ctx.get_payload()["n"]
        if number == 2 and ctx.get_user().id == "bob":
            ctx.block()
        ctx.transform({"n": number * 10})

    async def change_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        change(ctx)

    setup.lobby.on_outgoing("said", change_later if is_async else change)
    with anyio.fail_after(5):
        async with members(setup, "ann", "bob") as (ann, bob), anyio.create_task_group() as tasks:
            payload = {"n": 1}
            await begin(
                tasks,
                store,
                lambda: handle_of(setup).broadcast("said", payload),
                saying(setup, 2),
                saying(setup, 3),
            )
            payload["n"] = 5  # what was sent is what was meant
            store.appends[0].apply()
            for place in (2, 1, 0):
                store.appends[place].answer()
            await settled()
            assert (heard(ann), heard(bob)) == ([10, 30, 20], [10, 30])


async def test_outgoing_handlers_see_what_only_json_can_copy() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    seen: list[object] = []
    setup.lobby.on_outgoing("said", lambda ctx: seen.append(ctx.get_payload()))
    with anyio.fail_after(5):
        async with member(setup, "ann") as ann, anyio.create_task_group() as tasks:
            # As the presence of a user is.
            payload = {"n": MappingProxyType({"m": 1})}
            await begin(tasks, store, lambda: handle_of(setup).broadcast("said", payload))
            store.answer_all()
            await settled()
            assert heard(ann) == [{"m": 1}]
            assert seen == [{"n": {"m": 1}}]


# --- who sends ------------------------------------------------------------------------------------


async def test_what_a_cancelled_caller_has_begun_still_reaches_the_others() -> None:
    async with late_room() as (setup, store, _, bob), anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def speak() -> None:
            with scope:
                await handle_of(setup).broadcast("said", {"n": 1})

        await begin(tasks, store, speak)
        scope.cancel()
        await settled()
        store.answer_all()
        await settled()
        assert heard(bob) == [1]


async def test_what_a_client_has_begun_reaches_the_others_after_its_connection() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    with anyio.fail_after(5):
        async with member(setup, "bob") as bob, anyio.create_task_group() as tasks:

            async def speak() -> None:
                async with member(setup, "ann") as ann:
                    ann.send("BROADCAST", ROOM, "say", {"n": 1})
                    await store.asked(appends=1)

            tasks.start_soon(speak)
            await store.asked(appends=1)
            await settled()
            store.answer_all()
            await settled()
            assert heard(bob) == [1]


async def test_broadcast_nowait_in_the_loop_keeps_its_order_and_counts_at_once() -> None:
    async with late_room() as (setup, store, ann, _), anyio.create_task_group() as tasks:
        handle_of(setup).broadcast_nowait("said", {"n": 1})
        assert len(store.appends) == 1
        await begin(tasks, store, saying(setup, 2))
        store.appends[0].apply()
        store.appends[1].answer()
        await settled()
        assert heard(ann) == []
        store.appends[0].answer()
        await settled()
        assert heard(ann) == [1, 2]


async def test_a_failure_of_broadcast_nowait_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with late_room() as (setup, store, ann, _):
        handle_of(setup).broadcast_nowait("said", {"n": 1})
        handle_of(setup).broadcast_nowait("said", {"n": 2})
        store.appends[0].fail()
        store.appends[1].answer()
        await settled()
        assert heard(ann) == [2]
        (record,) = error_records(caplog)
        assert "was not kept" in record.getMessage()


async def test_broadcast_nowait_without_a_task_for_it_is_refused_and_holds_no_other() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    async with reconnect(setup) as ann:
        ann.drain()
        handle = handle_of(setup)
        with pytest.raises(UsageError, match="async with pond"):
            handle.broadcast_nowait("said", {"n": 1})
        with anyio.fail_after(5):
            await ann.join(ROOM)
            async with anyio.create_task_group() as tasks:
                await begin(tasks, store, saying(setup, 2))
                store.appends[1].answer()
            assert heard(ann) == [2]


async def test_events_that_no_history_keeps_and_presence_wait_for_nothing() -> None:
    async with late_room() as (setup, store, ann, bob), anyio.create_task_group() as tasks:
        await begin(tasks, store, saying(setup, 1))
        await handle_of(setup).broadcast("unkept", {}, history=False)
        channel = await channel_of(setup)
        (first, _) = channel.roster
        channel.track_member(first, {"who": "ann"})
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        assert heard(ann) == ["unkept", "JOIN", "EXIT_ACKNOWLEDGE"]
        assert heard(bob) == ["unkept", "JOIN", "LEAVE"]
        store.answer_all()
        await settled()
        assert (heard(ann), heard(bob)) == ([], [1])


async def test_changes_of_presence_go_before_a_broadcast_that_is_emitted_later() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    with anyio.fail_after(5):
        async with reconnect(setup) as ann, anyio.create_task_group() as tasks:
            ann.drain()
            await ann.join(ROOM, presence=PresenceMode.DIFF)
            await begin(tasks, store, saying(setup, 1))
            channel = await channel_of(setup)
            (first,) = channel.roster
            store.appends[0].answer()
            channel.track_member(first, {"who": "ann"})
            await settled()
            assert heard(ann) == ["DIFF", 1]


async def test_the_history_is_read_late_by_the_application() -> None:
    async with late_room() as (setup, store, _, _):
        store.appends_at_once = True
        for number in (1, 2, 3):
            await handle_of(setup).broadcast("said", {"n": number})
        store.reads_at_once = False
        found: list[Any] = []

        async def read(since: Position | None) -> None:
            found.append(await handle_of(setup).history(since, limit=2))

        async with anyio.create_task_group() as tasks:
            for place, since in enumerate([None, Position("epoch1", 0), Position("epoch0", 0)], 1):
                tasks.start_soon(read, since)
                await store.asked(reads=place)
                store.answer_all()
                await settled()
        numbers = [each and [said(message) for message in each] for each in found]
        assert numbers == [[2, 3], [1, 2], None]


async def test_a_member_that_comes_back_recovers_what_was_sent_late() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    with anyio.fail_after(5):
        since = await position_of(setup)
        async with member(setup, "bob"), anyio.create_task_group() as tasks:
            await begin(tasks, store, saying(setup, 1), saying(setup, 2))
            store.answer_all()
        async with reconnect(setup) as ann:
            assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
            assert heard(ann) == [1, 2]
