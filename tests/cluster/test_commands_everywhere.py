"""What is sent to connections, and what closes them: on every node, also one that was cut off."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    DisconnectContext,
    Endpoint,
    JoinContext,
    PondSocket,
    UsageError,
)
from pondsocket._cluster.commands import KEPT
from pondsocket.backplane import BackplaneUnavailable
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.testing import MemoryPeer, connect

from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


class Node:
    """One pond with three endpoints, and its access to the engine."""

    def __init__(self, hub: MemoryHub) -> None:
        self.backplane: MemoryBackplane = hub.backplane()
        self.pond = PondSocket(backplane=self.backplane)
        self.socket = self._endpoint("/socket")
        self.tenants = self._endpoint("/:tenant/socket")
        self.shared = self._endpoint("/shared/:part/socket", shared_channels=True)

    def _endpoint(self, path: str, **options: Any) -> Endpoint:
        endpoint = self.pond.create_endpoint(path, self._admit, **options)
        endpoint.on_disconnect(self._gone)
        return endpoint

    @staticmethod
    async def _admit(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=ctx.query["user"])

    @staticmethod
    async def _gone(ctx: DisconnectContext) -> None:
        await ctx.broadcast("gone", {"user": ctx.user.id})


class World:
    """Two nodes, and clients."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.hub = MemoryHub()
        self.one, self.two = Node(self.hub), Node(self.hub)
        self._stack = stack

    async def client(self, node: Node, user: str, path: str = "/socket") -> MemoryPeer:
        peer = await self._stack.enter_async_context(connect(node.pond, f"{path}?user={user}"))
        await peer.receive_event("CONNECTION")
        return peer


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        world = World(stack)
        for node in (world.one, world.two):
            await stack.enter_async_context(node.pond)
        yield world


def got(peer: MemoryPeer) -> list[tuple[str, Any]]:
    """Receive all. Return the events of the endpoint itself."""
    return [(each.event, each.payload) for each in peer.drain()]


async def test_a_push_reaches_a_user_on_every_node(world: World) -> None:
    here, there = await world.client(world.one, "ann"), await world.client(world.two, "ann")
    other = await world.client(world.two, "bob")
    assert await world.one.pond.push("ann", "news", {"n": 1}) == 1
    world.two.pond.push_nowait("ann", "news", {"n": "é\x1f\n"})
    await anyio.sleep(1)
    for peer in (here, there):
        assert sorted(got(peer), key=str) == [("news", {"n": "é\x1f\n"}), ("news", {"n": 1})]
    assert got(other) == []


async def test_a_path_limits_it_as_on_one_node(world: World) -> None:
    acme = await world.client(world.two, "ann", "/acme/socket")
    other = await world.client(world.two, "ann", "/other/socket")
    shared = await world.client(world.two, "ann", "/shared/a/socket")
    one = world.one
    await one.pond.push("ann", "n", {"at": "acme"}, path="/acme/socket")
    await one.tenants.broadcast("n", {"all": "acme"}, path="/acme/socket")
    one.tenants.broadcast_nowait("n", {"all": "tenants"})
    await one.shared.broadcast("n", {"all": "shared"}, path="/shared/:part/socket")
    await one.pond.push("ann", "n", {"at": "shared"}, path="/shared/:part/socket")
    await anyio.sleep(1)
    assert [payload for _, payload in got(acme)] == [
        {"at": "acme"}, {"all": "acme"}, {"all": "tenants"},
    ]  # fmt: skip
    assert got(other) == [("n", {"all": "tenants"})]
    assert got(shared) == [("n", {"all": "shared"}), ("n", {"at": "shared"})]


async def test_threads_push_to_every_node_in_order(world: World) -> None:
    there = await world.client(world.two, "ann")

    def work() -> None:
        for number in range(5):
            world.one.pond.push_nowait("ann", "n", {"n": number})
            world.one.socket.broadcast_nowait("all", {"n": number})

    await anyio.to_thread.run_sync(work)
    await anyio.sleep(1)
    expected = [(event, {"n": number}) for number in range(5) for event in ("n", "all")]
    assert got(there) == expected


async def test_a_disconnect_handler_tells_every_node(world: World) -> None:
    there = await world.client(world.two, "ann")
    async with connect(world.one.pond, "/socket?user=bob"):
        pass
    await anyio.sleep(1)
    assert got(there) == [("gone", {"user": "bob"})]


async def test_connections_are_closed_on_every_node(world: World) -> None:
    closed = await world.client(world.two, "ann")
    acme = await world.client(world.two, "ann", "/acme/socket")
    await world.one.socket.close_connection("ann")
    assert await closed.wait_closed() == 4403
    await world.one.tenants.close_connection("ann", path="/other/socket")
    await anyio.sleep(1)
    assert acme.session.is_open
    await world.one.tenants.close_connection("ann", path="/acme/socket")
    assert await acme.wait_closed() == 4403


async def test_the_connections_of_all_nodes_are_counted(world: World) -> None:
    await world.client(world.one, "ann")
    await world.client(world.two, "ann")
    await world.client(world.two, "bob", "/acme/socket")
    assert await world.one.socket.connection_count() == 2
    assert await world.one.tenants.connection_count() == 1
    world.two.backplane.silence()
    with pytest.raises(BackplaneUnavailable):
        await world.one.socket.connection_count()


async def test_a_node_that_was_cut_off_does_it_on_its_return(world: World) -> None:
    there = await world.client(world.two, "ann")
    world.two.backplane.cut(for_good=True)
    await anyio.sleep(1)
    await world.one.pond.push("ann", "n", {"you": "are banned"})
    await world.one.pond.disconnect(user_id="ann", reason="banned")
    assert there.session.is_open
    later = await world.client(world.two, "ann")
    world.two.backplane.mend()
    assert await there.wait_closed() == 4403
    events = [each.event for each in there.drain()]
    assert events == ["n", "GOODBYE"]
    # One that came later was admitted by an application that knew of it.
    await anyio.sleep(1)
    assert later.session.is_open
    assert got(later) == [("gone", {"user": "ann"})]


async def test_pushes_do_not_make_the_engine_drop_other_commands(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    there = await world.client(world.two, "ann")
    world.two.backplane.cut(for_good=True)
    await anyio.sleep(1)
    await world.one.pond.disconnect(user_id="ann")
    for number in range(KEPT.size + 200):
        world.one.pond.push_nowait("bob", "n", {"n": number})
        if not number % 100:
            await anyio.sleep(0.1)
    await anyio.sleep(1)
    world.two.backplane.mend()
    with caplog.at_level(logging.ERROR):
        assert await there.wait_closed() == 4403
    told = [each.getMessage() for each in caplog.records if "cut off for so long" in each.msg]
    assert len(told) == 1
    assert "events that were pushed" in told[0]


async def test_an_engine_that_forgets_is_told_of(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    there = await world.client(world.two, "ann")
    await world.one.pond.push("ann", "n", {})
    world.hub.stop()
    await anyio.sleep(1)
    with pytest.raises(BackplaneUnavailable):
        await world.one.pond.push("ann", "n", {})
    world.hub.start(forget=True)
    await anyio.sleep(1)
    await world.one.pond.push("ann", "last", {})
    await anyio.sleep(1)
    assert [event for event, _ in got(there)] == ["n", "last"]
    assert any("cut off for so long" in each.msg for each in caplog.records)


async def test_what_was_given_up_by_a_thread_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    here = await world.client(world.one, "ann")
    world.hub.stop()
    await anyio.sleep(1)
    world.one.pond.push_nowait("ann", "n", {})
    world.one.socket.broadcast_nowait("n", {})
    await anyio.sleep(3)
    assert [event for event, _ in got(here)] == ["n", "n"]
    told = [each.getMessage() for each in caplog.records if "were not told" in each.msg]
    assert [each.split("(")[1].split(")")[0] for each in told] == ["push", "broadcast"]


async def test_a_pond_that_does_not_run_says_what_to_write() -> None:
    node = Node(MemoryHub())

    @node.socket.channel("/room")
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()

    room = node.pond.channel("/socket", "/room")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: node.pond.push("ann", "n", {}),
        lambda: node.pond.disconnect(user_id="ann"),
        lambda: node.socket.broadcast("n", {}),
        lambda: node.socket.close_connection("ann"),
        lambda: node.socket.connection_count(),
        lambda: room.broadcast("n", {}),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="Publisher"):
            await call()
    for nowait in (room.broadcast_nowait, node.socket.broadcast_nowait):
        with pytest.raises(UsageError, match="Publisher"):
            nowait("n", {})
    with pytest.raises(UsageError, match="Publisher"):
        node.pond.push_nowait("ann", "n", {})
