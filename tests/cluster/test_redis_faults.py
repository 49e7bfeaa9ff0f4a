"""Ponds on a Redis that is killed, frozen, cut off and replaced.

In the end every client has every message once and in one order within an epoch, or was told; the
presence is true; `on_leave` has run once for those who have left, and for no other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest
from pondsocket import History
from pondsocket.backplane import SEPARATOR, Put
from pondsocket.backplane.redis import RedisBackplane

from tests.process_groups import PROCESS_GROUPS
from tests.servers import ROOT

from .engines import DOUBT, LEASE, OPTIONS, new_prefix
from .faults import FaultyRedis
from .redis_server import RedisServer, Sentinel
from .rooms import KEPT, PLAIN, Client, Cluster, cluster, until, until_true

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

MEMBERS: Final = 6


@asynccontextmanager
async def on(
    url: str, *, nodes: int = 3, prefix: str = "pond", lease: float = LEASE
) -> AsyncIterator[Cluster]:
    """Run some nodes on one Redis."""
    backplanes = [
        RedisBackplane(url, prefix=prefix, **{**OPTIONS, "lease": lease}) for _ in range(nodes)
    ]
    async with cluster(*backplanes) as found:
        yield found


class Talk:
    """Members that speak all the time."""

    def __init__(self, clients: list[Client]) -> None:
        self.said = 0
        self._clients = clients

    async def run(self) -> None:
        while True:
            self._clients[self.said % len(self._clients)].say(self.said)
            self.said += 1
            await anyio.sleep(0.01)

    async def more(self, count: int = 50) -> None:
        """Wait until so many more are taken."""
        goal = self.taken + count
        await until(lambda: self.taken >= goal, seconds=30)

    @property
    def taken(self) -> int:
        """How many were confirmed."""
        for each in self._clients:
            each.read()
        return sum(len(each.taken) for each in self._clients)


@asynccontextmanager
async def talking(found: Cluster) -> AsyncIterator[Talk]:
    """Let members join and speak; in the end, check what must be true."""
    clients = await found.join_all(MEMBERS)
    users = {each.user for each in clients}
    await found.until_presence(users)
    for each in clients:
        each.other.clear()
    talk = Talk(clients)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(talk.run)
        await talk.more()
        yield talk
        await talk.more()
        tasks.cancel_scope.cancel()
    await found.check()
    # Those who are missing are in doubt, if Redis has forgotten anything.
    await anyio.sleep(1.1 + (DOUBT if max(told(found)) else LEASE))
    await found.check()
    assert found.leaves() == {}
    for client in clients:
        client.read()
        left = [each for each in client.other if "LEAVE" in each.event]
        assert left == [], (client.user, left)
    await clients[0].close()
    await found.until_presence(users - {clients[0].user})
    await until(lambda: found.leaves() == {clients[0].user: 1})


def told(found: Cluster) -> set[int]:
    return {each.told for each in found.clients}


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", ["nothing", "rdb", "aof"])
async def test_it_is_killed(tmp_path: Path, keeps: str) -> None:
    """`kill -9`, and a start with nothing, with what was saved, or with nearly all."""
    with RedisServer(tmp_path, keeps=keeps) as server:
        async with on(server.url) as found:
            async with talking(found) as talk:
                if keeps == "rdb":
                    server.call("SAVE")
                    await talk.more()
                server.kill()
                await anyio.sleep(0.3)
                server.start()
                await talk.more()
            assert told(found) == {1}


@pytest.mark.parametrize("keeps", ["nothing", "aof"])
async def test_it_is_killed_and_a_node_returns_more_than_a_lease_later(
    tmp_path: Path, keeps: str
) -> None:
    """Its link is half-open when Redis ends: the node takes longer than the others to see it."""
    with RedisServer(tmp_path, keeps=keeps) as server:
        async with anyio.create_task_group() as tasks:
            engine = FaultyRedis(server, tasks, new_prefix())
            nodes = [await engine.backplane() for _ in range(3)]
            async with cluster(*nodes) as found, talking(found) as talk:
                engine.proxies[0].swallow()
                server.kill()
                server.start()
                await found.nodes[1].until_up(is_up=False)
                await found.nodes[1].until_up()
                await anyio.sleep(LEASE + 1.2)
                assert not found.nodes[0].is_up
                engine.proxies[0].mend()
                await found.nodes[0].until_up()
                await talk.more()
            tasks.cancel_scope.cancel()


async def test_it_is_killed_twice(tmp_path: Path) -> None:
    with RedisServer(tmp_path, keeps="rdb") as server:
        async with on(server.url) as found:
            async with talking(found) as talk:
                server.call("SAVE")
                for _ in range(2):
                    server.kill()
                    server.start()
                    await talk.more()
            assert told(found) <= {1, 2}


async def test_it_forgets_all_while_it_runs(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with on(server.url) as found:
            async with talking(found) as talk:
                server.call("FLUSHALL")
                await talk.more()
            assert told(found) == {1}


async def test_a_failover_and_back_to_a_replica_that_lags(tmp_path: Path) -> None:
    """A -> B -> A: each time the replica has not all, and A still has its scripts."""
    with RedisServer(tmp_path / "a") as one, RedisServer(tmp_path / "b") as two:
        two.call("REPLICAOF", "127.0.0.1", one.port)
        await until(lambda: b"master_link_status:up" in two.call("INFO", "replication"))
        with Sentinel(tmp_path / "s", "pond", one) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/pond"

            def is_master(server: RedisServer) -> bool:
                found = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "pond")
                return int(found[1]) == server.port

            await until(lambda: b"slaves=1" in sentinel.call("INFO", "sentinel"))
            async with on(url) as found:
                async with talking(found) as talk:
                    for master, replica in ((one, two), (two, one)):
                        # What comes now does not reach the replica.
                        master.kill_clients("replica")
                        replica.freeze()
                        await talk.more()
                        master.freeze()
                        replica.resume()
                        await until(lambda replica=replica: is_master(replica), seconds=30)  # type: ignore[misc]
                        await talk.more()
                        master.resume()
                        # The sentinel would do it after ten seconds.
                        master.call("REPLICAOF", "127.0.0.1", replica.port)
                        await until(
                            lambda master=master: (  # type: ignore[misc]
                                b"master_link_status:up" in master.call("INFO", "replication")
                            ),
                            seconds=30,
                        )
                assert min(told(found)) >= 1


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2.5, 5.0])
async def test_it_is_frozen(tmp_path: Path, seconds: float) -> None:
    with RedisServer(tmp_path) as server:
        async with on(server.url) as found:
            async with talking(found) as talk:
                server.freeze()
                await anyio.sleep(seconds)
                server.resume()
                await talk.more()
            assert told(found) == {0}


async def test_all_links_are_killed_ten_times(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with on(server.url) as found:
            async with talking(found) as talk:
                for _ in range(10):
                    server.kill_clients()
                    await talk.more(20)
            assert told(found) == {0}


async def test_a_link_is_half_open(redis_server: RedisServer) -> None:
    """Bytes are swallowed, in both directions, and no side is told."""
    async with anyio.create_task_group() as tasks:
        engine = FaultyRedis(redis_server, tasks, new_prefix())
        nodes = [await engine.backplane(lease=10.0) for _ in range(3)]
        async with cluster(*nodes) as found:
            async with talking(found) as talk:
                proxy = engine.proxies[0]
                proxy.swallow()
                await found.nodes[0].until_up(is_up=False)
                await anyio.sleep(0.2)
                proxy.mend()
                await found.nodes[0].until_up()
                await talk.more()
                proxy.swallows_replies = True
                await found.nodes[1].until_up()
                await found.nodes[0].until_up(is_up=False)
                proxy.mend()
            assert told(found) == {0}
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("size", [10_000, 20], ids=["all is kept", "little is kept"])
async def test_a_node_that_does_not_read_is_cut_off_and_its_members_miss_nothing_in_silence(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis keeps no more for a node than its output limit: the members get the rest from what is
    kept, or are told."""
    limits = ("--client-output-buffer-limit", "pubsub", "4mb", "0", "0")
    history = History(size=size, max_bytes=60_000_000)
    async with anyio.create_task_group() as tasks:
        with RedisServer(tmp_path, *limits) as server:
            engine = FaultyRedis(server, tasks, new_prefix())
            nodes = [await engine.backplane(lease=60.0, silence=30.0) for _ in range(2)]
            async with cluster(*nodes, history=history) as found:
                ann, bob = await found.join_all(2)
                engine.proxies[1].stall()
                handle = found.nodes[0].pond.channel("/socket", KEPT)
                count = 0
                while server.call("CLIENT", "LIST", "TYPE", "pubsub").count(b" laddr=") == 2:
                    await handle.broadcast("said", {"id": count, "filled": "x" * 100_000})
                    ann.read()
                    count += 1
                await handle.broadcast("said", {"id": count})
                assert found.nodes[1].is_up  # it does not know yet
                engine.proxies[1].is_read.set()
                await found.nodes[1].until_up(is_up=False)
                await until(lambda: count in bob.heard)
                await found.check()
                assert ann.heard[: count + 1] == [*range(count + 1)]
                if size == 20:
                    assert (ann.told, bob.told) == (0, 1)
                    assert bob.missed()
                else:
                    assert (ann.told, bob.told) == (0, 0)
                    assert bob.heard == ann.heard
                assert found.leaves() == {}
        tasks.cancel_scope.cancel()
    assert "The link to the other servers has ended" in caplog.text


# --- nodes ----------------------------------------------------------------------------------------


@contextmanager
def node_process(server: RedisServer, prefix: str, *users: str) -> Iterator[subprocess.Popen[str]]:
    """Run a node in a process of its own."""
    command = [sys.executable, "-m", "tests.cluster.node_process", server.url, prefix, *users]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    PROCESS_GROUPS.add(process.pid)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        PROCESS_GROUPS.remove(process.pid)


async def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with anyio.fail_after(20):
        line = await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
    return line.strip()


async def test_a_node_is_killed(redis_server: RedisServer) -> None:
    """Presence is true within lease + 1.5 s of a node's `kill -9`."""
    prefix = new_prefix()
    users = [f"gone{number}" for number in range(20)]
    async with on(redis_server.url, prefix=prefix, nodes=2) as found:
        clients = await found.join_all(4)
        here = {each.user for each in clients}
        with node_process(redis_server, prefix, *users) as process:
            assert await read_line(process) == "ready"
            await found.until_presence({*here, *users})
            process.kill()
            began = anyio.current_time()
            await found.until_presence(here)
            assert anyio.current_time() - began <= LEASE + 1.5
        await until(lambda: found.leaves() == dict.fromkeys(users, 1))
        for client in clients:
            client.read()
            assert sum("LEAVE" in each.event for each in client.other) == len(users)


async def test_a_node_is_stopped_past_its_lease(redis_server: RedisServer) -> None:
    """Its members are away while it is stopped, and there again when it goes on."""
    prefix = new_prefix()
    users = [f"stopped{number}" for number in range(5)]
    async with on(redis_server.url, prefix=prefix, nodes=2) as found:
        clients = await found.join_all(4)
        here = {each.user for each in clients}
        with node_process(redis_server, prefix, *users) as process:
            assert await read_line(process) == "ready"
            await found.until_presence({*here, *users})
            os.kill(process.pid, signal.SIGSTOP)
            await found.until_presence(here)
            clients[0].say("meanwhile")
            os.kill(process.pid, signal.SIGCONT)
            await found.until_presence({*here, *users})
            assert found.leaves() == dict.fromkeys(users, 1)


async def test_the_sweeper_is_killed(redis_server: RedisServer) -> None:
    """A node that sweeps may die: another one goes on, and no leave is told twice."""
    async with anyio.create_task_group() as tasks:
        engine = FaultyRedis(redis_server, tasks, new_prefix())
        async with cluster(*[await engine.backplane() for _ in range(3)]) as found:
            await found.client("watcher", PLAIN).join(found.nodes[2])
            await add_members(found, 2_000)
            engine.cut_off(0)
            await until(lambda: found.leaves())  # one of the two has begun
            engine.cut_off(1)
            # What was dropped by a node that died then may not be told: at most once.
            await until(lambda: sum(found.leaves().values()) >= 2_000 - 512)
            handle = found.nodes[2].pond.channel("/socket", PLAIN)

            async def is_swept() -> bool:
                return await handle.user_count() == 1

            await until_true(is_swept)
            assert max(found.leaves().values()) == 1
        tasks.cancel_scope.cancel()


async def add_members(found: Cluster, count: int) -> None:
    """Hold memberships at the first node, without connections."""
    node = found.nodes[0].pond._node
    assert node is not None
    for number in range(count):
        topic = f"/socket{SEPARATOR}{PLAIN}"
        node.batches.add(Put(topic, f"{node.name}x{number}", f"user{number}", None))
    await node.batches.settle()


async def test_many_members_return_after_a_restart(tmp_path: Path) -> None:
    """The presence of a node with many members is whole again, without a false leave."""
    with RedisServer(tmp_path) as server:
        async with on(server.url, nodes=2) as found:
            clients = await found.join_all(60)
            users = {each.user for each in clients}
            await found.until_presence(users)
            server.kill()
            server.start()
            await found.check()
            await anyio.sleep(DOUBT + 1.1)
            await found.until_presence(users)
            assert found.leaves() == {}
