"""What members of one channel on several nodes see: its order, and what they recover."""

import gc

import anyio
import anyio.lowlevel
import pytest
from pondsocket import Options, Position
from pondsocket._cluster.shared_channel import SharedChannel
from pondsocket.backplane import BackplaneUnavailable
from pondsocket.backplane.memory import MemoryHub
from pondsocket_common import Refused

from tests.cluster.ponds import (
    KEPT,
    LATEST,
    PLAIN,
    SOCKET,
    ClusterPond,
    acknowledged,
    client,
    said,
    serving,
    told,
)
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


def position_of(message: object) -> Position:
    found = acknowledged(message)  # type: ignore[arg-type]
    assert found.epoch is not None
    assert found.offset is not None
    return Position(found.epoch, found.offset)


@pytest.mark.parametrize("delay", [0.0, 0.02])
async def test_three_nodes_have_one_order_of_a_history(delay: float) -> None:
    hub = MemoryHub(delay=delay)
    one, two, three = (ClusterPond(hub) for _ in range(3))
    async with (
        serving(one, two, three),
        client(one, "ann") as ann,
        client(two, "bob") as bob,
        client(three, "cid") as cid,
    ):
        for peer in (ann, bob, cid):
            await peer.join(KEPT)
        for number in range(20):
            ann.send("BROADCAST", KEPT, "say", {"text": f"ann {number}"})
            bob.send("BROADCAST", KEPT, "say", {"text": f"bob {number}"})
        await anyio.sleep(3)
        texts = said(ann)
        assert len(texts) == 40
        assert texts == said(bob) == said(cid)
        for user in ("ann", "bob"):
            own = [text for text in texts if text.startswith(user)]
            assert own == [f"{user} {number}" for number in range(20)]


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_broadcasts_into_channels_without_members_leave_nothing_behind(room: str) -> None:
    """Each makes a channel, which ends with its broadcast."""
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "ann") as ann:
        await ann.join(room)
        for number in range(200):
            name = f"{room}{number}" if number % 2 else room
            await one.channel(SOCKET, name).broadcast("said", {"text": number})
        await told()
        assert said(ann) == [*range(0, 200, 2)]
        gc.collect()
        node = one._node
        assert node is not None
        assert len(node._topics) == len(node.batches._queue) == 0
        # By `type`: some objects that other tests leave set themselves up when asked for a class.
        channels = [each for each in gc.get_objects() if type(each) is SharedChannel]
        assert not any(each._node is node for each in channels)


async def test_a_reply_comes_after_the_broadcast_before_it() -> None:
    hub = MemoryHub(delay=0.02)
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        ann.drain()
        ann.send("BROADCAST", KEPT, "say", {"text": "hi"})
        await told()
        assert [each.event for each in ann.drain()] == ["said", "done"]
        assert said(bob) == ["hi"]


async def test_without_a_history_each_sender_keeps_its_order_elsewhere() -> None:
    hub = MemoryHub(delay=0.02)
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(PLAIN)
        await bob.join(PLAIN)
        for number in range(20):
            ann.send("BROADCAST", PLAIN, "say", {"text": number})
        await anyio.lowlevel.checkpoint()
        await told()
        assert said(ann) == [*range(20)]
        assert said(bob) == [*range(20)]


async def test_a_client_recovers_on_another_node_what_it_missed() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        since = position_of(await ann.join(KEPT))
        for number in range(3):
            ann.send("BROADCAST", KEPT, "say", {"text": number})
        await told()
        async with client(two, "bob") as bob:  # nothing of the channel is on this node yet
            answer = acknowledged(await bob.join(KEPT, since=Position(since.epoch, 1)))
            assert (answer.offset, answer.recovered) == (1, True)
            await told()
            assert said(bob) == [1, 2]
        async with client(two, "cid") as cid:
            assert position_of(await cid.join(KEPT)) == Position(since.epoch, 3)


async def test_a_position_of_a_history_that_has_begun_anew_is_not_recovered() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        ann.send("BROADCAST", KEPT, "say", {"text": "before"})
        await told()
        hub.stop()
        hub.start(forget=True)
        await told()
        async with client(two, "bob") as bob:
            old = next(each.position for each in ann.drain() if each.event == "said")
            answer = acknowledged(await bob.join(KEPT, since=old))
            assert answer.recovered is False
            assert answer.epoch != old.epoch
            ann.send("BROADCAST", KEPT, "say", {"text": "after"})
            await told()
            assert said(ann) == said(bob) == ["after"]


async def test_the_latest_messages_are_sent_on_another_node() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        for number in range(5):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        async with client(two, "bob") as bob:
            await bob.join(KEPT, {"latest": 2})
            await told()
            assert said(bob) == [3, 4]


async def test_a_channel_of_a_latest_value_sends_it_on_every_node() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "bob") as bob:
        for number in range(3):
            await one.channel(SOCKET, LATEST).broadcast("said", {"text": number})
        await bob.join(LATEST)
        await told()
        assert said(bob) == [2]
        await one.channel(SOCKET, LATEST).broadcast("said", {"text": 3})
        await told()
        assert said(bob) == [3]


async def test_the_history_is_read_on_a_node_without_members() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        for number in range(3):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        found = await two.channel(SOCKET, KEPT).history(limit=2)
        assert found is not None
        assert [each.payload for each in found] == [{"text": 1}, {"text": 2}]


async def test_questions_are_answered_for_the_cluster() -> None:
    hub = MemoryHub(delay=0.01)
    one, two, three = (ClusterPond(hub) for _ in range(3))
    async with serving(one, two, three), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT, {"show": 1})
        await bob.join(KEPT, {"show": 2})
        async with client(two, "bob") as other:
            await other.join(KEPT)
            await told()  # a join does not wait for it
            for pond in (one, two, three):
                handle = pond.channel(SOCKET, KEPT)
                assert await handle.user_count() == 2
                assert await handle.has_user("bob")
                assert not await handle.has_user("cid")
                assert await handle.get_presence() == {"ann": {"shows": 1}, "bob": {"shows": 2}}
                assigns = await handle.get_assigns()
                assert {user: each["name"] for user, each in assigns.items()} == {
                    "ann": "ann",
                    "bob": "bob",
                }


async def test_questions_fail_soon_while_the_engine_is_away() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(KEPT)
        hub.stop()
        await told()
        handle = one.channel(SOCKET, KEPT)
        with anyio.fail_after(3):
            for ask in (handle.user_count, handle.get_assigns):
                with pytest.raises(BackplaneUnavailable):
                    await ask()


async def test_a_join_while_the_engine_is_away_is_refused_for_the_moment() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        hub.stop()
        refused = (await ann.join(KEPT, wait=3)).payload
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retry_after_ms) == (503, 1_000)
        hub.start()
        await told()
        assert acknowledged(await ann.join(KEPT)).offset == 0


async def test_only_joins_that_begin_a_history_in_the_cluster_are_counted() -> None:
    hub = MemoryHub()
    options = Options(max_new_histories=2)
    one, two = ClusterPond(hub, options=options), ClusterPond(hub, options=options)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        for name in "ab":
            acknowledged(await ann.join(f"/kept/{name}"))
        refused = (await ann.join("/kept/c")).payload
        assert isinstance(refused, Refused)
        assert refused.code == 429
        assert refused.retry_after_ms is not None
        for name in "abc":  # they are there already
            acknowledged(await bob.join(f"/kept/{name}"))
        for name in "de":
            acknowledged(await bob.join(f"/kept/{name}"))
        assert isinstance((await bob.join("/kept/f")).payload, Refused)
