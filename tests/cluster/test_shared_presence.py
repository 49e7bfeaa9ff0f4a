"""Presence over nodes: what members are told, and when a user has left everywhere."""

import anyio
import pytest
from pondsocket import Options, PresenceMode, UsageError
from pondsocket.backplane.memory import MemoryHub
from pondsocket.testing import MemoryPeer
from pondsocket_common import PresenceDiff, PresenceList

from tests.cluster.ponds import (
    KEPT,
    PLAIN,
    SOCKET,
    ClusterPond,
    acknowledged,
    client,
    serving,
    told,
)
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops

CLOSED = "connection_closed"


def lists(peer: MemoryPeer) -> list[tuple[str, list[object]]]:
    """Return the presence lists that a client was sent, and what each change was."""
    return [
        (each.event, [shown["shows"] for shown in each.payload.presence])
        for each in peer.drain()
        if isinstance(each.payload, PresenceList)
    ]


def diffs(peer: MemoryPeer) -> list[tuple[list[str], list[str], list[str]]]:
    return [
        (
            [each.user for each in diff.joins],
            [each.user for each in diff.updates],
            [each.user for each in diff.leaves],
        )
        for diff in (each.payload for each in peer.drain())
        if isinstance(diff, PresenceDiff)
    ]


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_members_on_all_nodes_get_the_list(room: str) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(room, {"show": 1})
        await told()
        assert lists(ann) == [("JOIN", [1])]
        async with client(two, "bob") as bob:
            await bob.join(room, {"show": 2})
            await told()
            assert lists(ann) == lists(bob) == [("JOIN", [1, 2])]
        await told()
        assert lists(ann) == [("LEAVE", [1])]


async def test_members_that_want_diffs_get_the_state_and_then_diffs() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(PLAIN, {"show": 1})
        async with client(two, "bob") as bob:
            answer = acknowledged(await bob.join(PLAIN, {"show": 2}, presence=PresenceMode.DIFF))
            assert answer.presence is not None
            assert [each.user for each in answer.presence.joins] == ["ann"]
            await told()
            assert diffs(bob) == [(["bob"], [], [])]
            async with client(one, "cid") as cid:
                await cid.join(PLAIN, {"show": 3})
                await told()
                assert diffs(bob) == [(["cid"], [], [])]
            await told()
            assert diffs(bob) == [([], [], ["cid"])]


async def test_what_a_handler_has_tracked_is_known_when_that_returns() -> None:
    hub = MemoryHub(delay=0.1)
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(KEPT)
        member = next(iter(one.channel(SOCKET, KEPT)._find().roster))
        sent = member.channel.track_member(member, {"shows": 1})
        assert not isinstance(sent, int)
        assert await sent > 0
        assert await one.channel(SOCKET, KEPT).get_presence() == {"ann": {"shows": 1}}
        gone = member.channel.untrack_member(member)
        assert not isinstance(gone, int)
        await gone
        assert await one.channel(SOCKET, KEPT).get_presence() == {}


async def test_what_a_user_shows_is_set_where_the_connection_is() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        channel = one.channel(SOCKET, KEPT)._find()
        assert [each.user_id for each in channel.members_of(["ann"])] == ["ann"]
        with pytest.raises(UsageError, match=r"User bob is not a member of /kept/1 on this server"):
            channel.members_of(["ann", "bob"])


async def test_tracking_waits_for_no_engine_that_is_away_and_is_shown_later() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        hub.stop()
        await told()
        member = next(iter(one.channel(SOCKET, KEPT)._find().roster))
        with anyio.fail_after(2.5):
            sent = member.channel.track_member(member, {"shows": 1})
            assert not isinstance(sent, int)
            assert await sent == 0
        hub.start()
        await told()
        assert lists(bob) == [("JOIN", [1])]


async def test_a_client_that_comes_back_on_another_node_gets_the_list() -> None:
    hub = MemoryHub()
    options = Options(presence_leave_delay=5.0)
    one, two = ClusterPond(hub, options=options), ClusterPond(hub, options=options)
    async with serving(one, two), client(two, "bob") as bob:
        await bob.join(KEPT)
        async with client(one, "ann") as ann:
            await ann.join(KEPT, {"show": 1})
        await told()
        assert lists(bob) == [("JOIN", [1])]
        async with client(two, "ann") as back:
            await back.join(KEPT, {"show": 1})
            await anyio.sleep(6)
            assert lists(back) == [("JOIN", [1])] or lists(back) == []
            assert lists(bob) == []  # a leave that was held back is not seen


async def test_on_leave_runs_once_for_the_last_membership_anywhere() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        async with client(one, "ann") as ann:
            await ann.join(PLAIN)
            async with client(two, "ann") as too:
                await too.join(PLAIN)
            await told()
            assert one.left == two.left == []
        await told()
        assert (one.left, two.left) == ([("ann", CLOSED)], [])


async def test_a_leave_that_is_held_back_is_told_once_it_is_over() -> None:
    hub = MemoryHub()
    options = Options(presence_leave_delay=5.0)
    one, two = ClusterPond(hub, options=options), ClusterPond(hub, options=options)
    async with serving(one, two), client(two, "bob") as bob:
        await bob.join(PLAIN)
        async with client(one, "ann") as ann:
            await ann.join(PLAIN, {"show": 1})
        await anyio.sleep(4)
        assert lists(bob) == [("JOIN", [1])]
        assert one.left == []
        await anyio.sleep(2)
        assert lists(bob) == [("LEAVE", [])]
        assert one.left == [("ann", CLOSED)]


async def test_a_leave_while_the_engine_is_away_is_told_later_and_once() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "bob") as bob:
        await bob.join(PLAIN)
        async with client(one, "ann") as ann:
            await ann.join(PLAIN, {"show": 1})
            await told()
            hub.stop()
            await told()
        bob.drain()
        await anyio.sleep(4)
        assert one.left == []
        hub.start()
        await told()
        assert one.left == [("ann", CLOSED)]
        assert lists(bob) == [("LEAVE", [])]


async def test_nothing_stays_of_a_membership_that_the_node_could_tell_under_no_lease() -> None:
    """It was begun and ended under a lease that is over when the engine hears of both."""
    hub = MemoryHub(outage="local")
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "bob") as bob, client(one, "cid") as cid:
        await bob.join(PLAIN)
        await cid.join(PLAIN)
        one.link.cut(for_good=True)
        await told()
        async with client(one, "ann") as ann:
            await ann.join(PLAIN, {"show": 1}, wait=3)
            await anyio.sleep(1)
        await anyio.sleep(15)  # the lease is over
        assert one.left == []
        one.link.mend()
        await told()
        assert set(await two.channel(SOCKET, PLAIN).get_presence()) == set()
        assert await two.channel(SOCKET, PLAIN).user_count() == 2
        assert not await two.channel(SOCKET, PLAIN).has_user("ann")
        assert one.left == [("ann", CLOSED)]


async def test_an_engine_that_has_forgotten_all_causes_no_false_leave() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(PLAIN, {"show": 1})
        await bob.join(PLAIN, {"show": 2})
        await told()
        ann.drain()
        hub.stop()
        hub.start(forget=True)
        await anyio.sleep(15)
        assert lists(ann) == []
        assert set(await two.channel(SOCKET, PLAIN).get_presence()) == {"ann", "bob"}
        assert one.left == two.left == []


async def test_an_outage_behind_a_restart_causes_no_false_leave() -> None:
    """The nodes that have not returned when it begins cannot do so before it ends."""
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(PLAIN, {"show": 1})
        await bob.join(PLAIN, {"show": 2})
        await told()
        ann.drain()
        two.link.cut(for_good=True)
        hub.stop()
        hub.start(forget=True)
        await anyio.sleep(2)
        hub.stop()
        await anyio.sleep(15)
        hub.start()
        await anyio.sleep(3)
        two.link.mend()
        await anyio.sleep(15)
        assert lists(ann) == []
        assert set(await one.channel(SOCKET, PLAIN).get_presence()) == {"ann", "bob"}
        assert one.left == two.left == []


@pytest.mark.parametrize("elsewhere", ["is not", "stays", "leaves as well"])
async def test_a_leave_of_what_the_engine_has_forgotten_is_told_once(elsewhere: str) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        async with client(two, "ann") as second:
            if elsewhere != "is not":
                await second.join(PLAIN, {"show": 2})
            async with client(one, "ann") as first:
                await first.join(PLAIN, {"show": 1})
                await told()
                hub.stop()
                first.send("LEAVE_CHANNEL", PLAIN, "leave", {})
                if elsewhere == "leaves as well":
                    second.send("LEAVE_CHANNEL", PLAIN, "leave", {})
                await anyio.sleep(3)
                hub.start(forget=True)
                await anyio.sleep(30)
                users = [user for user, _ in one.left + two.left]
                assert users == ([] if elsewhere == "stays" else ["ann"])
                is_there = await two.channel(SOCKET, PLAIN).has_user("ann")
                assert is_there is (elsewhere == "stays")
        await anyio.sleep(1)
        assert [user for user, _ in one.left + two.left] == ["ann"]
