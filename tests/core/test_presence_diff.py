"""Presence for those who joined with `presence: "diff"`: the state once, then what changed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from pondsocket import Counter, EventContext, JoinContext, Options, PondSocket
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, PresenceDiff, PresenceList, PresenceMode

from tests.core.members import events, say, settled
from tests.core.ponds import ROOM, PondSetup, admit, build

# Longer than any test: what comes then was not sent by the tick.
NEVER = Options(presence_tick=60.0, event_rate=None)
# So short that no test waits for it.
SOON = Options(presence_tick=0.01)


def tracked(options: Options = NEVER) -> PondSetup:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        if "shown" in ctx.join_params:
            await ctx.track(ctx.join_params["shown"])

    setup = build(join, options=options)

    @setup.lobby.on_message("show")
    async def show(ctx: EventContext) -> None:
        await ctx.track(ctx.get_payload())

    @setup.lobby.on_message("hide")
    async def hide(ctx: EventContext) -> None:
        await ctx.untrack()

    @setup.lobby.on_message("twice")
    async def twice(ctx: EventContext) -> None:
        await ctx.track({"n": 1})
        await ctx.track({"n": 2})

    @setup.lobby.on_message("ask")
    async def ask(ctx: EventContext) -> str:
        return "done"

    return setup


def state_of(answer: Any) -> dict[str, Any]:
    """Return what an acknowledgement says is shown, by user."""
    assert isinstance(answer.payload, Acknowledged)
    assert answer.payload.presence is not None
    assert answer.payload.presence.updates == ()
    assert answer.payload.presence.leaves == ()
    return {entry.user: entry.presence for entry in answer.payload.presence.joins}


def diff_of(message: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return joins, updates and leaves, by user."""
    diff = message.payload
    assert (message.action, message.event) == ("PRESENCE", "DIFF")
    assert isinstance(diff, PresenceDiff)
    joins, updates, leaves = (
        {entry.user: entry.presence for entry in entries}
        for entries in (diff.joins, diff.updates, diff.leaves)
    )
    return joins, updates, leaves


@asynccontextmanager
async def watcher(
    setup: PondSetup, user: str, shown: object = None, *, diff: bool = True
) -> AsyncIterator[MemoryPeer]:
    async with connect(setup.pond, f"/socket?user={user}") as peer:
        params = {} if shown is None else {"shown": shown}
        await peer.join(ROOM, params, presence=PresenceMode.DIFF if diff else None)
        await settled()
        peer.drain()
        yield peer


async def test_the_state_comes_once_on_the_acknowledgement() -> None:
    setup = tracked()
    async with watcher(setup, "ann", {"n": 1}, diff=False), connect(setup.pond, "/socket") as bob:
        assert state_of(await bob.join(ROOM, presence=PresenceMode.DIFF)) == {"ann": {"n": 1}}
        assert events(bob) == ["CONNECTION"]


async def test_a_client_that_does_not_ask_gets_no_state_and_whole_lists() -> None:
    setup = tracked()
    async with watcher(setup, "ann", {"n": 1}), connect(setup.pond, "/socket?user=bob") as bob:
        answer = await bob.join(ROOM, {"shown": {"n": 2}})
        assert answer.payload == Acknowledged()
        join = await bob.receive_event("JOIN")
        assert join.payload == PresenceList(({"n": 1}, {"n": 2}), {"n": 2})


async def test_what_happens_within_a_tick_is_one_frame() -> None:
    setup = tracked(SOON)
    async with watcher(setup, "ann") as ann, watcher(setup, "bob") as bob:
        for n in range(5):
            bob.send("BROADCAST", ROOM, "show", {"n": n})
        joins, updates, leaves = diff_of(await ann.receive())
        assert (joins, updates, leaves) == ({"bob": {"n": 4}}, {}, {})
        bob.send("BROADCAST", ROOM, "show", {"n": 9})
        assert diff_of(await ann.receive()) == ({}, {"bob": {"n": 9}}, {})
        bob.send("BROADCAST", ROOM, "hide")
        assert diff_of(await ann.receive()) == ({}, {}, {"bob": {"n": 9}})
        assert len(bob.drain()) == 3


async def test_entries_have_the_ref_of_the_membership_in_all_they_tell() -> None:
    setup = tracked(SOON)
    async with watcher(setup, "ann") as ann, watcher(setup, "ann", {"tab": 2}) as tab:
        refs = set()
        joined = (await ann.receive()).payload
        assert isinstance(joined, PresenceDiff)
        refs.add(joined.joins[0].ref)
        tab.send("BROADCAST", ROOM, "show", {"tab": 3})
        updated = (await ann.receive()).payload
        assert isinstance(updated, PresenceDiff)
        refs.add(updated.updates[0].ref)
        ann.send("BROADCAST", ROOM, "show", {"tab": 1})
        other = (await ann.receive()).payload
        assert isinstance(other, PresenceDiff)
        assert {entry.user for entry in other.joins} == {"ann"}
        assert other.joins[0].ref not in refs
        assert len(refs) == 1


async def test_a_newcomer_in_the_middle_of_a_tick_misses_nothing_and_hears_nothing_twice() -> None:
    setup = tracked()
    async with watcher(setup, "ann", {"n": 1}) as ann:
        say(ann, "tell")  # ann's own join is told
        assert diff_of(await ann.receive())[0] == {"ann": {"n": 1}}
        await ann.receive_event("say")
        ann.send("BROADCAST", ROOM, "show", {"n": 2})  # waits for the tick
        async with connect(setup.pond, "/socket?user=bob") as bob:
            state = state_of(await bob.join(ROOM, {"shown": {"b": 1}}, presence=PresenceMode.DIFF))
            assert state == {"ann": {"n": 1}}
            assert events(ann) == []
            say(ann, "hi")
            await bob.receive_event("CONNECTION")
            expected: Any = ({"bob": {"b": 1}}, {"ann": {"n": 2}}, {})
            assert diff_of(await bob.receive()) == expected
            assert diff_of(await ann.receive()) == expected


async def test_what_comes_and_goes_within_a_tick_is_nothing() -> None:
    setup = tracked()
    async with watcher(setup, "ann") as ann:
        async with connect(setup.pond, "/socket?user=bob") as bob:
            await bob.join(ROOM, {"shown": {"n": 1}})
        await settled()
        say(ann, "hi")
        assert [(await ann.receive()).event] == ["say"]


async def test_an_update_and_a_leave_within_a_tick_are_a_leave() -> None:
    setup = tracked()
    async with watcher(setup, "ann") as ann:
        async with watcher(setup, "bob", {"n": 1}) as bob:
            say(ann, "tell")
            await ann.receive_event("say")
            bob.send("BROADCAST", ROOM, "show", {"n": 2})
            await settled()
        say(ann, "hi")
        assert diff_of(await ann.receive()) == ({}, {}, {"bob": {"n": 1}})


async def test_a_duplicate_join_keeps_its_ref_and_no_member_sees_a_leave() -> None:
    setup = tracked()
    async with watcher(setup, "ann") as ann, watcher(setup, "bob", {"n": 1}) as bob:
        say(bob, "tell")
        first = (await ann.receive()).payload
        assert isinstance(first, PresenceDiff)
        ann.drain()
        again = await bob.join(ROOM, {"shown": {"n": 2}}, presence=PresenceMode.DIFF)
        assert state_of(again) == {"bob": {"n": 1}}
        say(bob, "hi")
        diff = (await ann.receive()).payload
        assert isinstance(diff, PresenceDiff)
        assert (diff.joins, diff.leaves) == ((), ())
        assert diff.updates[0].ref == first.joins[0].ref
        assert setup.lobby is not None


@pytest.mark.parametrize("first", [True, False])
async def test_a_duplicate_join_may_change_the_mode(first: bool) -> None:
    setup = tracked()
    async with watcher(setup, "ann", diff=first) as ann, watcher(setup, "bob", diff=False) as bob:
        mode = None if first else PresenceMode.DIFF
        await ann.join(ROOM, presence=mode)
        ann.drain()
        bob.send("BROADCAST", ROOM, "show", {"n": 1})
        say(bob, "hi")
        await bob.receive_event("say")
        assert events(ann) == ["JOIN" if first else "DIFF", "say"]


@pytest.mark.parametrize("event", ["say", "ask"])
async def test_a_pending_diff_goes_before_any_broadcast_and_any_reply(event: str) -> None:
    setup = tracked()
    async with watcher(setup, "ann") as ann, watcher(setup, "bob") as bob:
        ann.send("BROADCAST", ROOM, "twice")
        ann.send("BROADCAST", ROOM, event)
        assert diff_of(await ann.receive())[0] == {"ann": {"n": 2}}
        assert (await ann.receive()).event == event
        assert events(bob) == (["DIFF", "say"] if event == "say" else ["DIFF"])


async def test_a_pending_diff_goes_before_an_eviction() -> None:
    setup = tracked()

    @setup.lobby.on_message("kick")
    async def kick(ctx: EventContext) -> None:
        await ctx.track({"n": 1})
        await ctx.evict("out", "ann")

    async with watcher(setup, "ann") as ann, watcher(setup, "bob") as bob:
        bob.send("BROADCAST", ROOM, "kick")
        await ann.receive_event("EVICTED")
        assert events(bob)[:1] == ["DIFF"]


async def test_diff_and_list_members_are_told_beside_each_other() -> None:
    setup = tracked(SOON)
    async with (
        watcher(setup, "ann") as ann,
        watcher(setup, "bob", diff=False) as bob,
        watcher(setup, "eve", diff=False) as eve,
    ):
        for n in (1, 2):
            eve.send("BROADCAST", ROOM, "show", {"n": n})
        assert diff_of(await ann.receive()) == ({"eve": {"n": 2}}, {}, {})
        assert events(bob) == events(eve) == ["JOIN", "UPDATE"]
        assert events(ann) == []


async def test_after_the_last_diff_member_has_left_the_next_gets_the_whole_state() -> None:
    setup = tracked()
    async with watcher(setup, "bob", {"n": 1}, diff=False) as bob:
        async with watcher(setup, "ann"):
            bob.send("BROADCAST", ROOM, "show", {"n": 2})
            await settled()
        bob.send("BROADCAST", ROOM, "show", {"n": 3})
        await settled()
        async with connect(setup.pond, "/socket?user=eve") as eve:
            answer = await eve.join(ROOM, presence=PresenceMode.DIFF)
            assert state_of(answer) == {"bob": {"n": 3}}
            say(bob, "hi")
            await eve.receive_event("CONNECTION")
            assert [(await eve.receive()).event] == ["say"]


async def test_where_no_client_asks_for_diffs_nothing_is_kept() -> None:
    setup = tracked()
    async with watcher(setup, "ann", {"n": 1}, diff=False):
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert channel.presence.log is None


async def test_the_tick_goes_on_where_the_connection_that_waited_for_it_ends() -> None:
    setup = tracked(Options(presence_tick=0.05))
    async with watcher(setup, "ann") as ann, watcher(setup, "bob") as bob:
        async with watcher(setup, "eve", {"n": 1}) as eve:
            eve.drain()
            # Whichever of them hosts the timer: all but one are gone before it is due.
            ann.vanish()
            await ann.wait_closed()
        with anyio.fail_after(2):
            await settled()
            bob.send("BROADCAST", ROOM, "show", {"n": 2})
            assert diff_of(await bob.receive()) == ({"bob": {"n": 2}}, {}, {})


async def test_with_a_pond_that_is_entered_the_tick_is_the_ponds() -> None:
    setup = tracked(SOON)
    async with setup.pond, watcher(setup, "ann") as ann, watcher(setup, "bob", {"n": 1}):
        assert diff_of(await ann.receive()) == ({"bob": {"n": 1}}, {}, {})


async def test_an_object_changed_after_it_was_tracked_spoils_nothing() -> None:
    setup = tracked(SOON)

    @setup.lobby.on_message("spoil")
    async def spoil(ctx: EventContext) -> None:
        shown: dict[str, Any] = {"inner": {"n": 1}}
        await ctx.track(shown)
        shown["inner"]["n"] = object()

    async with setup.pond, watcher(setup, "ann") as ann, watcher(setup, "bob", diff=False) as bob:
        bob.send("BROADCAST", ROOM, "spoil")
        assert diff_of(await ann.receive()) == ({"bob": {"inner": {"n": 1}}}, {}, {})
        bob.send("BROADCAST", ROOM, "show", {"n": 2})
        assert diff_of(await ann.receive()) == ({}, {"bob": {"n": 2}}, {})
        assert events(bob) == ["JOIN", "UPDATE"]


class BytesOut:
    def __init__(self) -> None:
        self.total = 0

    def count(self, counter: Counter, amount: int) -> None:
        if counter is Counter.BYTES_OUT:
            self.total += amount

    def queue_depth(self, frames: int) -> None: ...


async def test_two_hundred_joins_in_a_burst_cost_little_more_than_that_all_learn_of_all() -> None:
    metrics = BytesOut()
    pond = PondSocket(metrics=metrics)
    endpoint = pond.create_endpoint("/socket", admit)

    @endpoint.channel("/room/:id")
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"status": "online"})

    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(connect(pond, f"/socket?user=user-{n:04}"))
            for n in range(200)
        ]
        for peer in peers:
            answer = await peer.join(ROOM, presence=PresenceMode.DIFF)
            assert answer.event == "ACKNOWLEDGE"
        channel = await room.get_channel(ROOM)
        assert channel is not None
        channel.presence.flush()
        for peer in (peers[0], peers[-1]):
            told = [each.payload for each in peer.drain() if isinstance(each.payload, PresenceDiff)]
            assert "user-0199" in {entry.user for diff in told for entry in diff.joins}
        entry = '{"user":"user-0199","ref":"abcd","presence":{"status":"online"}},'
        assert metrics.total < 1.5 * 200 * 200 * len(entry)
