"""Random programs for a cluster of three ponds, and what must be true of each client in the end."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import anyio
from anyio.abc import TaskGroup
from pondsocket import Options, PondError
from pondsocket.adapter import ConnectRequest
from pondsocket.backplane import Drop
from pondsocket.backplane.memory import MemoryHub
from pondsocket_common import POND, ClientActions, ClientMessage, Headers, QueryParams, fresh_id

from tests.cluster.model_client import Client, Seen
from tests.cluster.model_node import ROOM, ModelNode

NODES = 3
USERS = ("ann", "ann", "ann", "bob", "bob", "cid", "dan", "eve")
CALM = {"say": 40, "others": 5, "unkept": 5, "connect": 8, "close": 4, "leave": 4, "join": 6,
        "outside": 4, "to": 4, "but": 4, "evict": 2, "disconnect": 2, "post": 8, "ask": 3,
        "restart": 1, "wait": 20}  # fmt: skip
FAULTS = {"cut": 2, "lose": 2, "silence": 1, "stop": 1, "forget": 1, "expire": 1, "kill": 1}


class World:
    """Three ponds, some clients, and what has happened.

    Args:
        seed: Of the program. Every fourth has no faults.
    """

    def __init__(self, seed: int, tasks: TaskGroup) -> None:
        self.random = rand = random.Random(seed)
        self.tasks = tasks
        self.is_calm = seed % 4 == 0
        self.kinds = CALM if self.is_calm else CALM | FAULTS
        self.hub = MemoryHub(lease=10.0, delay=rand.choice([0.0, 0.0, 0.01, 0.2]))
        self.options = Options(presence_leave_delay=rand.choice([0.0, 0.0, 3.0]))
        self.nodes: list[ModelNode] = []
        self.past: list[ModelNode] = []
        self.seen = Seen()
        self.clients = [
            Client(f"{user}{place}", user, self.seen, diffs=place % 2 == 0, sse=place % 3 == 2)
            for place, user in enumerate(USERS)
        ]
        self.sent = 0
        self.is_exact = True  # no result of an engine is lost with a node, or with the engine
        self.gone: Counter[str] = Counter()  # users whose last membership the engine has ended
        self.log: list[str] = []
        self._watch_engine()

    def _watch_engine(self) -> None:
        engine = self.hub.engine
        drop = engine._drop

        def watched(op: Drop, now: float, pushes: list[Any]) -> tuple[str, ...]:
            users = drop(op, now, pushes)
            if op.topic.endswith(ROOM):
                self.gone.update(users)
            return users

        engine._drop = watched  # type: ignore[method-assign]

    async def begin(self) -> None:
        """Start the ponds, and connect the clients."""
        for _ in range(NODES):
            self.nodes.append(await ModelNode.start(self.tasks, self.hub, self.options))
        for client in self.clients:
            await client.connect(self.tasks, self.random.choice(self.nodes))

    async def step(self) -> None:
        """Do one random thing."""
        rand = self.random
        node, client = rand.choice(self.nodes), rand.choice(self.clients)
        kind = rand.choices([*self.kinds], [*self.kinds.values()])[0]
        self.log.append(f"{anyio.current_time():.2f} {kind} {client.name} {self.nodes.index(node)}")
        self.sent += 1
        match kind:
            case "say":
                client.say("say", self.sent)
            case "others":
                client.say("say_to_others", self.sent)
            case "unkept":
                client.say("say_unkept", self.sent)
            case "connect":
                await client.connect(self.tasks, node)
            case "close":
                await client.close()
            case "leave":
                client.leave()
            case "join":
                client.join()
            case "restart" | "kill":
                await self._restart(node, is_killed=kind == "kill")
            case "outside" | "to" | "but" | "evict" | "disconnect" | "ask":
                try:
                    await self._call(kind, node, client.user)
                except PondError:
                    assert not self.is_calm
            case "post":
                await self._post(node, client)
            case "wait":
                await anyio.sleep(rand.random() * 0.5)
            case _:
                await self._fail(kind, node)
        for each in self.clients:
            each.read()

    async def _call(self, kind: str, node: ModelNode, user: str) -> None:
        handle, payload = node.pond.channel("/socket", ROOM), {"id": self.sent}
        match kind:
            case "outside":
                await handle.broadcast("said", payload)
            case "to":
                await handle.broadcast_to("said", {**payload, "to": [user, "eve"]}, user, "eve")
            case "but":
                more = {"not": user, "is_by_connection": False}
                await handle.broadcast_from("said", {**payload, **more}, user)
            case "evict":
                await handle.evict_user(user, "evicted")
                await self._check_gone(user, is_closed=False)
            case "disconnect":
                await node.pond.disconnect(user_id=user, reason="disconnected")
                await self._check_gone(user, is_closed=True)
            case _:
                users = await handle.user_count()
                assert 0 <= users <= len(set(USERS))
                assert isinstance(await handle.has_user(user), bool)
                assert set(await handle.get_presence()) <= set(USERS)
                assert set(await handle.get_assigns()) <= set(USERS)

    async def _check_gone(self, user: str, *, is_closed: bool) -> None:
        await anyio.sleep(1 + 3 * self.hub.delay)
        if not self.is_calm:
            return
        for client in self.clients:
            client.read()
            if client.user == user and client.peer is not None:
                # A join that was on its way comes later.
                assert client.peer.closed is not None or not is_closed, client.name

    async def _post(self, node: ModelNode, client: Client) -> None:
        """Send an event stream's message by any node."""
        if not client.sse or client.peer is None:
            return
        client.said += 1
        payload = {
            "id": self.sent,
            "sender": f"{client.name}.{client.connections}p",
            "number": client.said,
        }
        message = ClientMessage(ClientActions.BROADCAST, "say", ROOM, fresh_id(), payload)
        body = POND.encode_client(message)
        request = ConnectRequest("/socket", Headers([]), QueryParams([]), None, "sse")
        connection_id = client.peer.session.connection_id
        refusal = await node.pond.streams.post(connection_id, request, body)
        if self.is_calm and client.peer.closed is None:
            assert refusal is None, refusal

    async def _restart(self, node: ModelNode, *, is_killed: bool) -> None:
        if is_killed:
            self.is_exact = False
            await node.kill()
        else:
            await node.close()
        for client in self.clients:
            if client.node is node:
                await client.close()
        self.past.append(node)
        new = await ModelNode.start(self.tasks, self.hub, self.options)
        self.nodes[self.nodes.index(node)] = new

    async def _fail(self, kind: str, node: ModelNode) -> None:
        rand = self.random
        match kind:
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
                if kind == "forget":
                    self.is_exact = False
                self.hub.start(forget=kind == "forget")
            case _:
                node.backplane.expire_lease()

    async def settle(self) -> None:
        """Mend everything, and let all clients be members again."""
        for node in self.nodes:
            node.backplane.mend()
        await anyio.sleep(15)
        for number, client in enumerate(self.clients):
            client.read()
            await client.connect(self.tasks, self.nodes[number % NODES])
        await anyio.sleep(5)
        for client in self.clients:
            client.say("say_unkept", "unkept")
        await self.nodes[0].pond.channel("/socket", ROOM).broadcast("said", {"id": "last"})
        await anyio.sleep(2)
        for client in self.clients:
            client.read()

    async def check(self) -> None:
        """Check what must be true in the end."""
        assert len({client.at for client in self.clients}) == 1
        senders = {f"{each.name}.{each.connections}" for each in self.clients}
        for client in self.clients:
            assert client.is_member, client.name
            assert client.got[-1][1] == "last", client.name
            client.check()
            for sender in senders:
                assert f"/plain/1 said {sender}" in client.unkept, (client.name, sender)
                assert f"/room/1 typed {sender}" in client.unkept, (client.name, sender)
            shown = Counter(client.presence.values())
            users = Counter(USERS) if client.diffs else Counter(set(USERS))
            assert shown == users, (client.name, shown)
        for node in self.nodes:
            handle = node.pond.channel("/socket", ROOM)
            assert set(await handle.get_presence()) == set(USERS)
            assert await handle.user_count() == len(set(USERS))
            assert {user: each["name"] for user, each in (await handle.get_assigns()).items()} == {
                user: user for user in USERS
            }
            assert await handle.has_user("ann")
            assert not await handle.has_user("fay")

    def check_leaves(self) -> None:
        """Check that `on_leave` ran once for each last membership, on whichever node."""
        told = Counter(user for node in (*self.past, *self.nodes) for user in node.left)
        if self.is_exact:
            assert told == self.gone, (told, self.gone)
        else:
            assert told <= self.gone, (told, self.gone)

    async def end(self) -> None:
        """Disconnect all clients, and end the ponds."""
        for client in self.clients:
            await client.close()
        await anyio.sleep(10)
        for node in self.nodes:
            await node.close()
