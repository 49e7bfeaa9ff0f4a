"""Three nodes, a Redis, and a link between each of them that can be cut and made deaf."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import anyio.to_thread

from tests.cluster.proxy import Proxy
from tests.cluster.redis_server import RedisServer
from tests.servers import FAST_LANE, Server

from .clients import CHANNELS
from .plan import NODES, Fault

HOST: Final = "127.0.0.1"
APP: Final = "tests.cluster.chaos.app:app"
# What is still open after a drain is cut.
_SHUTDOWN_SECONDS: Final = 3


def environment(
    url: str, log: Path, number: int, *, lease: float = 5.0, drain: float = 0.5
) -> dict[str, str]:
    """Return what the process of a node is told."""
    return {
        "CHAOS_REDIS": url,
        "CHAOS_LOG": str(log),
        "CHAOS_NODE": str(number),
        "CHAOS_LEASE": str(lease),
        "CHAOS_DRAIN": str(drain),
    }


async def request(
    port: int, method: str, path: str, asked: object = None, *, seconds: float = 8.0
) -> dict[str, Any]:
    """Ask a node.

    Raises:
        OSError, ValueError: It does not answer.
    """
    body = b"" if asked is None else json.dumps(asked).encode()
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
        finally:
            writer.transport.abort()
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


class Node:
    """A server that is killed and started again, and its link."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.lock = asyncio.Lock()  # it is in one trouble at a time

    @property
    def port(self) -> int:
        return self.server.port


class World:
    """All of it.

    Attributes:
        resurrections: How many nodes may have been taken for dead, and were not.
        log: Where the nodes note joins and leaves.
    """

    def __init__(self, redis: RedisServer, log: Path) -> None:
        self.redis = redis
        self.redis_lock = asyncio.Lock()
        self.log = log
        self.nodes: list[Node] = []
        self.resurrections = 0

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def notes(self, what: str) -> list[tuple[str, str]]:
        """Return the users and channels of what the nodes have noted."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(user, channel) for _, kind, user, channel in map(str.split, lines) if kind == what]

    def logs(self) -> str:
        """Return the ends of the nodes' logs."""
        return "\n".join(node.server.log()[-6_000:] for node in self.nodes)

    async def expect_shown(self, users: set[str], seconds: float) -> float:
        """Expect all nodes to show these users within a time; return how long it took."""
        began = time.monotonic()
        wanted = {"shown": sorted(users), "users": len(users)}
        while True:
            states = [await request(node.port, "GET", "/state") for node in self.nodes]
            wrong = [
                (number, name, state[name])
                for number, state in enumerate(states)
                for name in CHANNELS
                if state[name] != wanted
            ]
            took = time.monotonic() - began
            if not wrong:
                return took
            if took > seconds:
                number, name, found = wrong[0]
                missing = found if isinstance(found, str) else sorted(users ^ set(found["shown"]))
                counted = "?" if isinstance(found, str) else found["users"]
                text = f"node {number}, {name}: {missing}, {counted} of {len(users)} counted"
                raise AssertionError(
                    f"after {took:.1f} s: {text}; {len(wrong)} are wrong\n{self.logs()}"
                )
            await asyncio.sleep(0.1)

    async def kill(self, node: Node) -> None:
        await anyio.to_thread.run_sync(lambda: node.server.stop(graceful=False))

    async def restart(self, node: Node) -> None:
        """End a node as a deploy does, and start it again."""
        await anyio.to_thread.run_sync(node.server.stop)
        await anyio.to_thread.run_sync(node.server.start)

    async def suffer(self, fault: Fault) -> None:
        """Let something go wrong, and mend it."""
        node = self.nodes[fault.node]
        if "Redis" in fault.kind:
            async with self.redis_lock:
                await self._lose_redis(fault)
        elif fault.kind == "kill all links":
            async with self.redis_lock:
                await anyio.to_thread.run_sync(self.redis.kill_clients)
        else:
            async with node.lock:
                await self._lose_node(node, fault)

    async def _lose_redis(self, fault: Fault) -> None:
        redis = self.redis
        if fault.kind == "kill Redis":
            if "--save" in redis.arguments and "3600 100000" in redis.arguments:
                await anyio.to_thread.run_sync(lambda: redis.call("SAVE"))
                await asyncio.sleep(0.3)  # what comes now is lost
            await anyio.to_thread.run_sync(redis.kill)
            await asyncio.sleep(fault.seconds)
            await anyio.to_thread.run_sync(redis.start)
        else:
            redis.freeze()
            await asyncio.sleep(fault.seconds)
            redis.resume()

    async def _lose_node(self, node: Node, fault: Fault) -> None:
        match fault.kind:
            case "kill a node":
                await self.kill(node)
                await asyncio.sleep(fault.seconds)
                await anyio.to_thread.run_sync(node.server.start)
            case "restart a node":
                await self.restart(node)
            case "stop a node" | "stop a node past its lease":
                node.server.group_signal(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                node.server.group_signal(signal.SIGCONT)
                self.resurrections += "lease" in fault.kind
            case "cut a link":
                node.proxy.cut(for_good=True)
                await asyncio.sleep(fault.seconds)
                node.proxy.mend()
            case "swallow":
                node.proxy.swallow()
                await asyncio.sleep(fault.seconds)
                node.proxy.mend()
            case "lose replies":
                node.proxy.swallows_replies = True
                await asyncio.sleep(fault.seconds)
                node.proxy.mend()
            case unknown:
                raise ValueError(unknown)


@asynccontextmanager
async def world(
    folder: Path, persistence: str, *, lease: float = 5.0, drain: float = 0.5
) -> AsyncIterator[World]:
    """Run three nodes, the first of them with our own protocol."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis", keeps=persistence))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        found = World(redis, folder / "notes")
        for number in range(NODES):
            proxy = Proxy(redis.port)
            await tasks.start(proxy.run)
            server = Server(
                APP,
                *("--log-level", "warning", "--timeout-graceful-shutdown", str(_SHUTDOWN_SECONDS)),
                *(FAST_LANE if number == 0 else ("--ws", "websockets-sansio")),
                env=environment(proxy.url, found.log, number, lease=lease, drain=drain),
            )
            found.nodes.append(Node(server, proxy))
            await anyio.to_thread.run_sync(stack.enter_context, server)
        try:
            yield found
        finally:
            tasks.cancel_scope.cancel()


class Speaker:
    """Says numbered messages in all channels, on any node.

    Attributes:
        outcomes: Of each message its channel, and "ok", "uncertain" or "refused".
        is_over: Set it to end before all is said.
    """

    def __init__(self, ports: list[int], channels: tuple[str, ...], random: Random) -> None:
        self.outcomes: dict[int, tuple[str, str]] = {}
        self.is_over = False
        self._ports = ports
        self._channels = channels
        self._random = random

    async def speak(self, count: int, rate: float, *, at_once: int = 10) -> None:
        """Say so many, so many a second."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(0, count, at_once):
                if self.is_over:
                    break
                said = [
                    (self._channels[each % len(self._channels)], each)
                    for each in range(number, min(number + at_once, count))
                ]
                tasks.create_task(self._say(said))
                await asyncio.sleep(started + (number + at_once) / rate - time.monotonic())

    async def _say(self, said: list[tuple[str, int]]) -> None:
        self.outcomes.update({number: (channel, "uncertain") for channel, number in said})
        asked = {"say": said}
        for port in self._random.sample(self._ports, len(self._ports)):
            try:
                answer = await request(port, "POST", "/speak", asked)
            except ConnectionRefusedError:
                continue  # nothing of it was said
            except (OSError, ValueError):
                return
            for channel, number in said:
                self.outcomes[number] = channel, answer[str(number)]
            return

    async def end(self, number: int, ports: list[int]) -> None:
        """Say the last message in each channel, on one of these ports, until it is said."""
        for channel in self._channels:
            async with asyncio.timeout(20):
                while True:
                    port = self._random.choice(ports)
                    try:
                        answer = await request(port, "POST", "/speak", {"say": [(channel, number)]})
                    except (OSError, ValueError):
                        await asyncio.sleep(0.2)
                        continue
                    if answer[str(number)] == "ok":
                        break


async def eventually(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it is so, or the time is over."""
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:  # noqa: ASYNC110 - it may not happen
        await asyncio.sleep(0.05)
