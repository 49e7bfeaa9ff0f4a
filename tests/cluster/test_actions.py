"""Evict and disconnect reach every node, in order, also one that was cut off."""

import anyio
import pytest
from pondsocket import CloseCode, PondSocket
from pondsocket.backplane import BackplaneUnavailable
from pondsocket.backplane.memory import MemoryHub
from pondsocket.testing import FakeClock, MemoryPeer

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


def evicted(peer: MemoryPeer) -> bool:
    return "EVICTED" in [each.event for each in peer.drain()]


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_a_user_is_evicted_on_all_nodes(room: str) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with (
        serving(one, two),
        client(one, "ann") as ann,
        client(two, "ann") as too,
        client(two, "bob") as bob,
    ):
        for peer in (ann, too, bob):
            await peer.join(room)
        await one.channel(SOCKET, room).evict_user("ann", "out")
        await told()
        assert evicted(ann)
        assert evicted(too)
        assert not evicted(bob)
        assert await one.channel(SOCKET, room).user_count() == 1
        assert one.left + two.left == [("ann", "evicted")]
        acknowledged(await too.join(room))  # it is no ban


async def test_a_handler_evicts_a_user_of_another_node() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(PLAIN)
        await bob.join(PLAIN)
        ann.send("BROADCAST", PLAIN, "evict", {"user": "bob"})
        await told()
        assert evicted(bob)
        assert not evicted(ann)


async def test_a_user_is_disconnected_on_all_nodes() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "ann") as ann, client(two, "bob") as bob:
        await one.disconnect(user_id="ann", reason="out")
        await told()
        assert (ann.closed, ann.reason) == (CloseCode.DISCONNECTED, "out")
        assert bob.closed is None


async def test_an_endpoint_closes_the_connections_of_a_user_on_all_nodes() -> None:
    hub = MemoryHub()
    ponds: list[PondSocket] = [PondSocket(backplane=hub.backplane()) for _ in range(2)]
    for pond in ponds:
        for path in ("/a", "/b"):
            pond.create_endpoint(path, accept)
    one, two = ponds
    async with serving(*ponds):
        from pondsocket.testing import connect

        async with connect(two, "/a?user=ann") as ann, connect(two, "/b?user=ann") as other:
            await next(iter(one.endpoints)).close_connection("ann")
            await told()
            assert ann.closed is CloseCode.DISCONNECTED
            assert other.closed is None


async def accept(ctx: object) -> None:
    ctx.accept(user_id=ctx.query["user"])  # type: ignore[attr-defined]


async def test_a_node_that_was_cut_off_does_it_on_its_return_to_older_connections() -> None:
    hub, clock = MemoryHub(), FakeClock()
    one, two = ClusterPond(hub), ClusterPond(hub, clock=clock)
    async with serving(one, two), client(two, "ann") as ann:
        await ann.join(KEPT)
        clock.advance(1)
        two.link.cut(for_good=True)
        await told()
        await one.channel(SOCKET, KEPT).evict_user("ann", "first")
        await one.disconnect(user_id="ann", reason="second")
        clock.advance(1)
        async with client(two, "ann") as newer:
            assert ann.closed is None
            two.link.mend()
            await told()
            assert evicted(ann)
            assert ann.closed is CloseCode.DISCONNECTED
            assert newer.closed is None
            await one.disconnect(user_id="ann", reason="third")
            await told()
            assert newer.closed is CloseCode.DISCONNECTED


async def test_what_a_node_is_told_while_it_runs_holds_for_all_connections() -> None:
    hub, clock = MemoryHub(), FakeClock()
    one, two = ClusterPond(hub), ClusterPond(hub, clock=clock)
    async with serving(one, two):
        two.link.cut()
        await told()
        clock.advance(10)
        async with client(two, "ann") as ann:
            await one.disconnect(user_id="ann")
            await told()
            assert ann.closed is not None


async def test_a_command_fails_if_the_others_are_not_told() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        hub.stop()
        await told()
        with anyio.fail_after(2.5), pytest.raises(BackplaneUnavailable):
            await one.disconnect(user_id="ann")
        assert ann.closed is not None  # here it is done


async def test_a_pond_that_runs_again_does_not_repeat_old_commands() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one):
        async with serving(two):
            pass
        await one.disconnect(user_id="ann")
        async with serving(two), client(two, "ann") as ann:
            await told()
            assert ann.closed is None


async def test_commands_keep_their_order_and_a_failing_one_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "ann") as ann:
        assert one._node is not None
        await one._node.commands.tell("nonsense")
        await one._node.commands.tell("disconnect", user="ann", reason="x", code=4403)
        await told()
        assert ann.closed is not None
        assert "A command failed (nonsense)" in caplog.text
