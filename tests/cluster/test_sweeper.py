"""The memberships of a node that dies are ended by the others, once."""

import anyio
import pytest
from pondsocket import Options
from pondsocket.backplane.memory import MemoryHub

from tests.cluster.model_node import ROOM, ModelNode
from tests.cluster.ponds import PLAIN, SOCKET, ClusterPond, client, serving, told
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


async def test_a_killed_node_is_gone_within_its_lease_and_each_leave_is_told_once() -> None:
    hub = MemoryHub(lease=10.0)
    async with anyio.create_task_group() as tasks:
        one, two, three = [await ModelNode.start(tasks, hub, Options()) for _ in range(3)]
        async with client(two.pond, "bob") as bob, client(three.pond, "cid") as cid:
            for peer in (bob, cid):
                await peer.join(ROOM)
            async with client(one.pond, "ann") as ann, client(one.pond, "bob") as other:
                await ann.join(ROOM)
                await other.join(ROOM)
                await told()
                await one.kill()
            begun = anyio.current_time()
            bob.drain()
            await bob.receive_event("LEAVE", wait=12)
            assert anyio.current_time() - begun <= 11.5
            await told()
            assert one.left == []
            assert two.left + three.left == ["ann"]  # bob is a member elsewhere
            assert [each for each in bob.drain() if each.action == "PRESENCE"] == []
            assert await two.pond.channel("/socket", ROOM).user_count() == 2
        await two.close()
        await three.close()


async def test_many_memberships_are_swept_in_parts() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        from pondsocket.backplane import Put

        engine, now = hub.engine, anyio.current_time()
        engine.grant("dead", now)
        puts = [Put(f"{SOCKET}\x1f{PLAIN}", f"d{n}", f"user{n}", None) for n in range(1_300)]
        engine.apply("dead-node", "dead", 1, puts, now)
        engine.expire("dead")
        assert await one.channel(SOCKET, PLAIN).user_count() == 1_300
        await anyio.sleep(2.5)
        assert await one.channel(SOCKET, PLAIN).user_count() == 0
        assert len(one.left) + len(two.left) == 1_300
        assert engine.dead(anyio.current_time()) == []


async def test_a_node_that_was_taken_for_dead_announces_its_members_again() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(PLAIN, {"show": 1})
        await told()
        one.link.cut(for_good=True)
        await anyio.sleep(15)
        assert await two.channel(SOCKET, PLAIN).get_presence() == {}
        one.link.mend()
        await anyio.sleep(2)
        assert await two.channel(SOCKET, PLAIN).get_presence() == {"ann": {"shows": 1}}
        assert ann.closed is None
