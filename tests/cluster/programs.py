"""Random programs for a cluster of three ponds, and what must be true of each client in the end."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
from pondsocket import (
    ConnectionContext,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    PondError,
    PondSocket,
    Position,
)
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, ServerActions

ROOM = "/room/1"
NODES = 3


@dataclass
class Node:
    """One pond, and its access to the engine."""

    pond: PondSocket
    backplane: MemoryBackplane
    left: list[str] = field(default_factory=list)


def make_node(hub: MemoryHub, history: History | None) -> Node:
    backplane = hub.backplane()
    pond = PondSocket(backplane=backplane)
    node = Node(pond, backplane)

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=ctx.query["user"])

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"user": ctx.user.id})

    async def say(ctx: EventContext) -> None:
        await ctx.broadcast("said", ctx.get_payload())

    async def left(ctx: LeaveContext) -> None:
        node.left.append(ctx.user.id)

    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:name", join, history=history)
    lobby.on_message("say", say)
    lobby.on_leave(left)
    return node


class Client:
    """A client that joins again where it was, and checks what it is sent."""

    def __init__(self, user: str, seen: dict[Position, Any]) -> None:
        self.user = user
        self.peer: MemoryPeer | None = None
        self.at: Position | None = None
        self.got: list[Any] = []
        self.told = 0
        self.refused = 0
        self._seen = seen
        self._stack = AsyncExitStack()
        self._join = ""

    async def connect(self, node: Node) -> None:
        await self.close()
        try:
            peer = await self._stack.enter_async_context(
                connect(node.pond, f"/socket?user={self.user}")
            )
        except Exception:
            self.refused += 1
            return
        self.peer = peer
        self._join = peer.send("JOIN_CHANNEL", ROOM, "join", {}, since=self.at)

    async def close(self) -> None:
        self.read()
        await self._stack.aclose()
        self.peer = None

    def say(self, what: object) -> None:
        if self.peer is not None:
            self.peer.send("BROADCAST", ROOM, "say", {"id": what})

    def read(self) -> None:
        """Check all that has come."""
        for message in [] if self.peer is None else self.peer.drain():
            if message.event == "UNAUTHORIZED":
                self.refused += 1
                self._join = ""
            elif message.event == "ACKNOWLEDGE":
                payload = message.payload
                assert isinstance(payload, Acknowledged)
                assert payload.epoch is not None and payload.offset is not None
                at = Position(payload.epoch, payload.offset)
                if message.request_id == self._join and payload.recovered is not False:
                    assert self.at is None or at == self.at, f"{self.user}: {at} after {self.at}"
                else:
                    self.told += 1
                self.at = at
            elif message.action is ServerActions.BROADCAST:
                assert message.position is not None
                assert self.at is not None
                following = Position(self.at.epoch, self.at.offset + 1)
                assert message.position == following, (
                    f"{self.user}: {message.position} after {self.at}"
                )
                self.at = message.position
                known = self._seen.setdefault(message.position, message.payload)
                assert known == message.payload
                self.got.append((message.position.epoch, message.payload["id"]))


class World:
    """Three ponds, some clients, and what has happened."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.hub = MemoryHub(lease=10.0, delay=self.random.choice([0.0, 0.0, 0.01, 0.2]))
        self.nodes = [make_node(self.hub, History(size=50)) for _ in range(NODES)]
        self.seen: dict[Position, Any] = {}
        self.clients = [Client(f"user{number}", self.seen) for number in range(6)]
        self.sent = 0
        self.log: list[str] = []

    async def step(self) -> None:
        """Do one random thing."""
        rand, node = self.random, self.random.choice(self.nodes)
        client = rand.choice(self.clients)
        kind = rand.choices(
            ["say", "connect", "close", "cut", "lose", "silence", "stop", "forget", "expire",
             "outside", "wait"],
            [40, 8, 2, 2, 2, 1, 1, 1, 1, 5, 20],
        )[0]  # fmt: skip
        self.log.append(f"{kind} {client.user} {self.nodes.index(node)}")
        self.sent += 1
        match kind:
            case "say":
                client.say(self.sent)
            case "connect":
                await client.connect(node)
            case "close":
                await client.close()
            case "cut":
                node.backplane.cut()
            case "lose":
                node.backplane.lose_results()
            case "silence":
                node.backplane.silence()
                await anyio.sleep(rand.random() * 3)
                node.backplane.mend()
            case "stop" | "forget":
                self.hub.stop()
                await anyio.sleep(rand.random() * 4)
                self.hub.start(forget=kind == "forget")
            case "expire":
                node.backplane.expire_lease()
            case "outside":
                try:
                    await node.pond.channel("/socket", ROOM).broadcast("said", {"id": self.sent})
                except PondError:
                    pass
            case _:
                await anyio.sleep(rand.random() * 0.5)
        for each in self.clients:
            each.read()

    async def settle(self) -> None:
        """Mend everything, and let all clients be members again."""
        for node in self.nodes:
            node.backplane.mend()
        await anyio.sleep(15)
        for number, client in enumerate(self.clients):
            client.read()
            await client.connect(self.nodes[number % NODES])
        await anyio.sleep(5)
        await self.nodes[0].pond.channel("/socket", ROOM).broadcast("said", {"id": "last"})
        await anyio.sleep(2)
        for client in self.clients:
            client.read()

    async def check(self) -> None:
        """Check what must be true in the end."""
        ats = {client.at for client in self.clients}
        assert len(ats) == 1, {client.user: client.at for client in self.clients}
        for client in self.clients:
            assert client.got[-1][1] == "last"
            # Within an epoch: an engine that forgets also forgets what it has carried out.
            assert len(set(client.got)) == len(client.got), client.user
        users = {client.user for client in self.clients}
        for node in self.nodes:
            handle = node.pond.channel("/socket", ROOM)
            assert set(await handle.get_presence()) == users
            assert await handle.user_count() == len(users)
