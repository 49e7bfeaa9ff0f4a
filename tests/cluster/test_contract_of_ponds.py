"""What a cluster promises, seen by clients: each docstring is one sentence of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import anyio
import pytest
from pondsocket import History, PondError
from pondsocket.backplane import SEPARATOR, BackplaneUnavailable, PublishUncertain, Put, Topic
from pondsocket_common import Refused

from .engines import LEASE, loops_of_engines
from .faults import FaultyEngine, faulty
from .rooms import KEPT, PLAIN, Cluster, cluster, until, until_true

pytestmark = pytest.mark.anyio
anyio_backend = loops_of_engines

World: TypeAlias = tuple[FaultyEngine, Cluster]
NewWorld: TypeAlias = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def world(setting: tuple[str, str], request: pytest.FixtureRequest) -> NewWorld:
    """Start a cluster, as `async with world(3) as (engine, found)`."""

    @asynccontextmanager
    async def start(
        nodes: int, *, history: History | None = None, **options: Any
    ) -> AsyncIterator[World]:
        async with faulty(setting, request) as engine:
            backplanes = [await engine.backplane(**options) for _ in range(nodes)]
            async with cluster(*backplanes, history=history) as found:
                yield engine, found

    return start


# --- order ----------------------------------------------------------------------------------------


async def test_two_senders_on_three_nodes_have_one_order(world: NewWorld) -> None:
    """The engine gives the order, and there is no other: every node sends the same messages in the
    same order, also to the sender."""
    async with world(3) as (_, found):
        clients = await found.join_all(6)
        for number in range(50):
            for sender in clients[:2]:
                sender.say(f"{sender.user} {number}")
            if number % 10 == 0:
                await anyio.sleep(0.01)
        await until(lambda: all(len(each.heard) == 100 for each in clients))
        assert len({tuple(each.heard) for each in clients}) == 1
        for sender in clients[:2]:  # each sender's own are in order
            own = [each for each in clients[5].heard if each.startswith(sender.user)]
            assert own == [f"{sender.user} {number}" for number in range(50)]
        assert [each.told for each in clients] == [0] * 6
        await found.check()


async def test_joins_in_a_storm_miss_nothing(world: NewWorld) -> None:
    """A member gets each message once."""
    async with world(3) as (_, found):
        senders = await found.join_all(3)
        crowd = [found.client(f"late{number}") for number in range(60)]
        is_over = False

        async def send() -> None:
            number = 0
            while not is_over:
                number += 1
                senders[number % 3].say(number)
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            async with anyio.create_task_group() as joins:
                for number, client in enumerate(crowd):
                    joins.start_soon(client.join, found.nodes[number % 3])
            for number, client in enumerate(crowd[::2]):  # and again, where they were
                await client.join(found.nodes[(number + 1) % 3])
            is_over = True
        await found.check()
        assert not any(each.told for each in found.clients)


async def test_a_hundred_members_are_one_subscription(world: NewWorld) -> None:
    async with world(1) as (_, found):
        subscribed: list[Topic] = []
        backplane: Any = found.nodes[0].backplane
        subscribe = backplane.subscribe

        async def count(topics: list[Topic]) -> None:
            subscribed.extend(topics)
            await subscribe(topics)

        backplane.subscribe = count
        clients = [found.client(f"user{number}") for number in range(100)]
        async with anyio.create_task_group() as joins:
            for client in clients:
                joins.start_soon(client.join, found.nodes[0])
        assert subscribed == [f"/socket{SEPARATOR}{KEPT}"]
        clients[0].say("hi")
        await until(lambda: all(each.heard == ["hi"] for each in clients))


async def test_a_broadcast_returns_once_it_is_delivered_here(world: NewWorld) -> None:
    """`await broadcast(…)` into a history returns when the engine has the message, and the members
    of this node have been sent it."""
    async with world(2) as (_, found):
        (client, other) = await found.join_all(2)
        for number in range(20):
            await found.nodes[0].pond.channel("/socket", KEPT).broadcast("said", {"id": number})
            assert client.heard[-1] == number
        await until(lambda: other.heard == [*range(20)])


async def test_without_a_history_it_is_in_order_per_sender(world: NewWorld) -> None:
    """At once to the members of this node, in the order of each sender to those of others, and at
    most once."""
    async with world(3) as (_, found):
        clients = await found.join_all(3, PLAIN)
        handle = found.nodes[0].pond.channel("/socket", PLAIN)
        for number in range(50):
            handle.broadcast_nowait("said", {"id": [0, number]})
            assert clients[0].heard[-1] == [0, number]  # at once
            clients[1].say([1, number])
        await until(lambda: all(len(each.heard) == 100 for each in clients))
        for client in clients:
            for sender in (0, 1):
                numbers = [number for who, number in client.heard if who == sender]
                assert numbers == [*range(50)]


async def test_messages_that_nothing_keeps_are_counted_when_lost(
    world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """What a lost link has swallowed is counted, and the log says how much."""
    async with world(2) as (engine, found):
        client, other = await found.join_all(2, PLAIN)
        engine.cut_off(0)
        await found.nodes[0].until_up(is_up=False)
        for number in range(5):
            client.say(number)
        await until(lambda: client.heard == [*range(5)])
        await anyio.sleep(2.5)
        with caplog.at_level(logging.WARNING, "pondsocket.cluster"):
            engine.mend(0)
            await found.nodes[0].until_up()
        assert "5 messages did not reach the other servers." in caplog.text
        client.say("then")
        await until(lambda: other.heard == ["then"])


async def test_any_payload_reaches_the_others_as_it_is(world: NewWorld) -> None:
    async with world(2) as (_, found):
        for channel in (KEPT, PLAIN):
            one, two = found.client("one", channel), found.client("two", channel)
            await one.join(found.nodes[0])
            await two.join(found.nodes[1])
            said = [
                "",
                "a\0b",
                "\u2028 ü \U0001f600",
                {"{}*.": [None, True, 1.5]},
                [],
                "x" * 100_000,
            ]
            for each in said:
                one.say(each)
            await until(lambda two=two, said=said: two.heard == said)  # type: ignore[misc]


async def test_a_payload_over_the_limit_is_refused_to_its_sender(world: NewWorld) -> None:
    """A larger broadcast is refused to the caller, and reaches no member."""
    async with world(2, max_payload=1_000) as (_, found):
        for channel in (KEPT, PLAIN):
            one, two = found.client("one", channel), found.client("two", channel)
            await one.join(found.nodes[0])
            await two.join(found.nodes[1])
            one.say("x" * 1_000)
            handle = found.nodes[0].pond.channel("/socket", channel)
            with pytest.raises(PondError, match="over the limit of 1000 bytes") as refused:
                await handle.broadcast("said", {"id": "x" * 1_000})
            assert refused.value.code == 413
            one.say("x" * 900)
            await until(lambda two=two: two.heard)  # type: ignore[misc]
            assert one.heard == two.heard == ["x" * 900]
            assert [each.code for each in one.faults] == [413]


async def test_a_client_that_knows_more_than_its_next_node_gets_nothing_twice(
    world: NewWorld,
) -> None:
    """Within one epoch a live member gets each message once, whichever node it moves to."""
    async with world(2) as (engine, found):
        near, far = await found.join_all(2)
        engine.silence(0)
        for number in range(5):
            far.say(number)
        await until(lambda: len(far.heard) == 5)
        assert near.heard == []  # its node does not know of them
        joining = found.nodes[0]
        await far.connect(joining)
        await until(lambda: far.has_joined() or far.faults)
        engine.mend()
        if not far.is_in:
            await until(lambda: joining.is_up and far.faults)
            await far.join(joining)
        await found.check()
        assert far.told == near.told == 0


# --- presence, and who is there -------------------------------------------------------------------


async def test_presence_is_one_on_all_nodes(world: NewWorld) -> None:
    """Presence is true on every node, as members come, show something else, and go."""
    async with world(3) as (_, found):
        clients = await found.join_all(6)
        users = {each.user for each in clients}
        await found.until_presence(users)
        assert clients[2].peer is not None
        clients[2].peer.send("BROADCAST", KEPT, "show", {"mood": "fine"})

        async def shows() -> bool:
            shown = await found.nodes[0].pond.channel("/socket", KEPT).get_presence()
            return shown["user2"] == {"mood": "fine"}

        await until_true(shows)
        for client in clients[::2]:
            await client.close()
        await found.until_presence({each.user for each in clients[1::2]})
        await until(lambda: found.leaves() == {"user0": 1, "user2": 1, "user4": 1})


async def test_on_leave_runs_for_the_last_membership_anywhere(world: NewWorld) -> None:
    """A leave is told once, and `on_leave` runs once, where the user's last connection of any node
    has left."""
    async with world(3) as (_, found):
        same = [found.client("ann") for _ in range(4)]
        for number, client in enumerate(same):
            await client.join(found.nodes[number % 3])
        for client in same[:3]:
            await client.close()
        await found.until_presence({"ann"})
        assert found.leaves() == {}
        await same[3].close()
        await found.until_presence(set())
        await until(lambda: found.leaves() == {"ann": 1})


async def test_a_node_that_closes_leaves_at_once_and_warns_of_nothing(
    world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Close: connections end, drops are flushed, the lease is removed."""
    async with world(2) as (_, found):
        clients = await found.join_all(4)
        with anyio.fail_after(LEASE):
            await found.nodes[0].end()
        gone = found.nodes.pop(0)
        await found.until_presence({"user1", "user3"})
        assert sorted(gone.left) == ["user0", "user2"]
        assert found.leaves() == {}
        for each in clients[::2]:
            each.is_in = False
        await found.check()
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_members_of_a_dead_node_leave_once(world: NewWorld) -> None:
    """After a node has died without a word, its members leave within the lease (10 s) and 1.5 s
    more; another node runs their `on_leave`, with a user without assigns, because these died with
    the node."""
    async with world(3) as (engine, found):
        clients = await found.join_all(9)
        engine.cut_off(0)
        began = anyio.current_time()
        dead = found.nodes.pop(0)
        await found.until_presence({each.user for each in clients if clients.index(each) % 3})
        assert anyio.current_time() - began <= LEASE + 1.5
        expected = {"user0": 1, "user3": 1, "user6": 1}
        await until(lambda: found.leaves() == expected)
        await anyio.sleep(1.5)
        assert found.leaves() == expected
        assert dead.left == []


async def test_two_thousand_members_of_a_dead_node_leave_once(world: NewWorld) -> None:
    async with world(3) as (engine, found):
        topic = f"/socket{SEPARATOR}{PLAIN}"
        watcher = found.client("watcher", PLAIN)
        await watcher.join(found.nodes[1])
        node = found.nodes[0].pond._node
        assert node is not None
        for number in range(2_000):
            node.batches.add(Put(topic, f"{node.name}x{number}", f"user{number}", None))
        await node.batches.settle()
        assert await found.nodes[2].pond.channel("/socket", PLAIN).user_count() == 2_001
        engine.cut_off(0)
        began = anyio.current_time()
        del found.nodes[0]
        await until(lambda: len(found.leaves()) == 2_000)
        assert anyio.current_time() - began <= LEASE + 2.5
        assert set(found.leaves().values()) == {1}
        assert await found.nodes[1].pond.channel("/socket", PLAIN).user_count() == 1


async def test_a_node_cut_off_for_longer_than_its_lease_returns(world: NewWorld) -> None:
    """A node that was taken for dead puts its members again; they have stayed connected."""
    async with world(3) as (engine, found):
        clients = await found.join_all(6)
        users = {each.user for each in clients}
        engine.cut_off(0)
        node, others = found.nodes[0], found.nodes[1:]
        found.nodes = others
        await found.until_presence(users - {"user0", "user3"})
        clients[1].say("while it was away")
        await until(lambda: clients[1].heard)
        found.nodes = [node, *others]
        engine.mend(0)
        await found.until_presence(users)
        await found.check()
        assert [each.told for each in clients] == [0] * 6
        assert all("while it was away" in each.heard for each in clients)
        assert max(found.leaves().values()) == 1
        await clients[0].close()
        await found.until_presence(users - {"user0"})


async def test_a_member_that_comes_and_goes_in_an_outage_leaves_no_trace(world: NewWorld) -> None:
    """What is queued while the lease ends is carried out under the next one, and ended."""
    async with world(2, outage="local") as (engine, found):
        _, other = await found.join_all(2, PLAIN)
        engine.cut_off(0)
        await found.nodes[0].until_up(is_up=False)
        brief = found.client("brief", PLAIN)
        await brief.join(found.nodes[0])
        await anyio.sleep(LEASE + 2.5)
        await brief.close()
        engine.mend()
        await found.nodes[0].until_up()
        await found.until_presence({"user0", "user1"}, PLAIN)
        await anyio.sleep(1.2)
        await found.until_presence({"user0", "user1"}, PLAIN)
        assert other.is_in


async def test_questions_are_answered_by_all_nodes_or_refused(world: NewWorld) -> None:
    """`get_assigns` asks the nodes: a late one is an error, and a dead one is not asked."""
    async with world(3) as (engine, found):
        clients = await found.join_all(3)
        handle = found.nodes[1].pond.channel("/socket", KEPT)
        assert set(await handle.get_assigns()) == {each.user for each in clients}
        engine.silence(0)
        began = anyio.current_time()
        with pytest.raises(BackplaneUnavailable):
            await handle.get_assigns()
        assert anyio.current_time() - began < 2.5
        engine.cut_off(0)
        await found.nodes[0].until_up(is_up=False)
        assert set(await handle.get_assigns()) == {"user1", "user2"}
        assert await handle.has_user("user1")
        engine.mend()
        await found.check()


# --- commands -------------------------------------------------------------------------------------


async def test_commands_are_carried_out_by_every_node(world: NewWorld) -> None:
    """`evict_user`, `disconnect`: by every node, in order."""
    async with world(3) as (_, found):
        same = [found.client("ann", channel) for channel in (KEPT, PLAIN, KEPT)]
        for client, node in zip(same, found.nodes, strict=True):
            await client.join(node)
        bob = found.client("bob")
        await bob.join(found.nodes[1])
        await found.nodes[1].pond.channel("/socket", KEPT).evict_user("ann", "enough")
        await found.until_presence({"bob"})
        await found.until_presence({"ann"}, PLAIN)
        await found.nodes[2].pond.disconnect(user_id="ann", reason="out")
        for client in same:
            assert client.peer is not None
            assert await client.peer.wait_closed(wait=5) == 4403
        await found.until_presence(set(), PLAIN)
        assert bob.peer is not None
        assert bob.peer.closed is None


async def test_a_node_that_was_cut_off_carries_out_commands_on_its_return(world: NewWorld) -> None:
    """A node that was cut off carries them out on its return, for connections that were open before
    it was cut off."""
    async with world(2) as (engine, found):
        ann, bob = found.client("ann"), found.client("bob", PLAIN)
        await ann.join(found.nodes[0])
        await bob.join(found.nodes[0])
        engine.cut_off(0)
        await found.nodes[0].until_up(is_up=False)
        other = found.nodes[1].pond
        await other.channel("/socket", KEPT).evict_user("ann")
        await other.disconnect(user_id="bob")
        again = found.client("bob", PLAIN)
        await anyio.sleep(0.01)
        await again.connect(found.nodes[0])  # it is admitted after the command
        await anyio.sleep(0.3)
        assert bob.peer is not None
        assert again.peer is not None
        assert bob.peer.closed is None
        engine.mend()
        await bob.peer.wait_closed(wait=10)
        await found.until_presence(set())
        assert again.peer.closed is None


# --- the engine's faults --------------------------------------------------------------------------


async def test_an_outage_closes_no_connection(world: NewWorld) -> None:
    """An outage closes no connection: history publishes fail in 2 s, never delivered alone."""
    async with world(3) as (engine, found):
        clients = await found.join_all(6)
        plain = await found.join_all(3, PLAIN)
        users = {each.user for each in clients}
        clients[0].say("before")
        await until(lambda: all(each.heard == ["before"] for each in clients))
        engine.cut_off()
        for node in found.nodes:
            await node.until_up(is_up=False)
        began = anyio.current_time()
        with pytest.raises((BackplaneUnavailable, PublishUncertain)):
            await found.nodes[0].pond.channel("/socket", KEPT).broadcast("said", {"id": "alone"})
        assert anyio.current_time() - began < 2.5
        clients[0].say("alone, too")
        await until(lambda: clients[0].faults)
        assert clients[0].faults[0].code == 503
        # Joins are refused, and told when to try again.
        refused = found.client("late")
        began = anyio.current_time()
        await refused.connect(found.nodes[1])
        refused.has_joined()
        await until(lambda: refused.has_joined() or refused.faults)
        assert anyio.current_time() - began < 2.5
        (fault,) = refused.faults
        assert isinstance(fault, Refused)
        assert (fault.code, fault.retry_after_ms) == (503, 1_000)
        # Channels without a history go on within the node.
        plain[0].say("here")
        await until(lambda: plain[0].heard == ["here"])
        # Presence stands still.
        await clients[1].close()
        await anyio.sleep(LEASE + 1)
        assert all(each.heard == ["before"] for each in clients)
        assert all(each.peer is None or each.peer.closed is None for each in found.clients)
        assert found.leaves() == {}
        engine.mend()
        await found.until_presence(users - {"user1"})
        await until(lambda: found.leaves() == {"user1": 1})
        assert plain[1].heard == []
        assert all("alone" not in each.heard for each in clients)
        await refused.join(found.nodes[1])
        await found.check()
        assert not any(each.told for each in clients)


async def test_in_an_outage_channels_without_a_history_may_go_on(world: NewWorld) -> None:
    """`outage="local"`: channels without history go on within the node, joins included."""
    async with world(2, outage="local") as (engine, found):
        old, far = await found.join_all(2, PLAIN)
        engine.cut_off()
        await found.nodes[0].until_up(is_up=False)
        new, kept = found.client("new", PLAIN), found.client("kept")
        other = found.client("other", "/plain/2")
        for client in (new, other):
            await client.join(found.nodes[0])
        await kept.connect(found.nodes[0])
        await until(lambda: kept.has_joined() or kept.faults)
        assert kept.faults[0].code == 503
        new.say("within")
        await until(lambda: old.heard == new.heard == ["within"])
        engine.mend()
        await found.until_presence({"user0", "user1", "new"}, PLAIN)
        far.say("again")
        await until(lambda: new.heard == ["within", "again"])
        there = found.client("there", "/plain/2")
        await there.join(found.nodes[1])
        there.say("hi")
        await until(lambda: other.heard == ["hi"])
        await found.until_presence({"other", "there"}, "/plain/2")


async def test_an_outage_longer_than_a_lease_ends_no_membership(world: NewWorld) -> None:
    """An outage of the engine ends no lease: no member is told to leave that has not left."""
    async with world(3) as (engine, found):
        clients = await found.join_all(6)
        users = {each.user for each in clients}
        await found.until_presence(users)
        for client in clients:
            client.other.clear()
        engine.cut_off()
        await anyio.sleep(2 * LEASE + 1)
        engine.mend()
        await found.check()
        await anyio.sleep(LEASE + 1)
        await found.until_presence(users)
        assert found.leaves() == {}
        for client in clients:
            client.read()
            assert [each for each in client.other if "LEAVE" in each.event] == []


async def test_flapping_links_lose_nothing(world: NewWorld) -> None:
    """Links that end again and again: nothing is lost, nothing comes twice."""
    async with world(3) as (engine, found):
        clients = await found.join_all(6)
        users = {each.user for each in clients}
        for number in range(120):
            clients[number % 6].say(number)
            if number % 8 == 0:
                engine.cut(number // 8 % 3)
            await anyio.sleep(0.02)
        await anyio.sleep(2.5)
        await found.check()
        assert not any(each.told for each in clients)
        assert sum(len(each.taken) for each in clients) > 60
        await found.until_presence(users)
        assert found.leaves() == {}


async def test_a_silent_link_is_ended_and_nothing_is_lost(
    world: NewWorld, setting: tuple[str, str]
) -> None:
    """What a half-open connection has swallowed is read on the next one."""
    async with world(2) as (engine, found):
        near, far = await found.join_all(2)
        engine.silence(0)
        for number in range(10):
            far.say(number)
        near.say("late")  # it reaches the engine, and its result is lost
        await until(lambda: len(far.heard) >= 10)
        if setting[0] == "redis":  # in memory, only what is pushed is lost
            await until(lambda: near.faults)
            assert near.faults[0].code == 503
        assert near.heard == []
        engine.mend()
        await found.check()
        assert near.told == far.told == 0
        assert near.heard[: len(far.heard)] == far.heard
