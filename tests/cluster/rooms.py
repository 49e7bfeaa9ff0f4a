"""Ponds that share an engine, and clients that check each thing they are sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    PondError,
    PondSocket,
    Position,
)
from pondsocket.backplane import Backplane
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import Acknowledged, Fault, Refused, ServerActions, ServerMessage

KEPT: Final = "/kept/1"
PLAIN: Final = "/plain/1"
# By the cookie `who`; without it None.
IDENTITIES: Final = {"text": "ann", "number": 1, "bytes": b"\xff"}


class Node:
    """One pond.

    Attributes:
        left: The users that `on_leave` was called for, here.
    """

    def __init__(self, backplane: Backplane, history: History) -> None:
        self.backplane = backplane
        self.left: list[str] = []
        self.pond = PondSocket(
            backplane=backplane, options=Options(event_rate=None, control_rate=None)
        )
        self._end = anyio.Event()
        self.ended = anyio.Event()
        self.endpoint = self.pond.create_endpoint("/socket", _admit, identity=_identify)
        for pattern, kept in (("/kept/:name", history), ("/plain/:name", None)):
            lobby = self.endpoint.create_channel(pattern, _join, history=kept)
            lobby.on_message("say", _say)
            lobby.on_message("show", _show)
            lobby.on_leave(self._leave)

    async def _leave(self, ctx: LeaveContext) -> None:
        self.left.append(ctx.user.id)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the pond until `end`."""
        async with self.pond:
            task_status.started()
            await self._end.wait()
        self.ended.set()

    async def end(self) -> None:
        """Close the pond."""
        self._end.set()
        await self.ended.wait()

    @property
    def is_up(self) -> bool:
        """Whether its link is up."""
        node = self.pond._node
        return node is not None and node.batches._is_up

    async def until_up(self, *, is_up: bool = True) -> None:
        await until(lambda: self.is_up is is_up)


async def _identify(request: ConnectRequest) -> object:
    return IDENTITIES.get(request.cookies.get("who", ""))


async def _admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query["user"])


async def _join(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.track({"user": ctx.user.id})


async def _say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())
    await ctx.reply("taken", ctx.get_payload())


async def _show(ctx: EventContext) -> None:
    await ctx.track(ctx.get_payload())


class Client:
    """A client that joins again where it was, and checks what it is sent.

    Attributes:
        at: Its position.
        got: What was said, by epoch and in order.
        told: How often it was told that messages are lost to it.
        taken: What it has said, and was confirmed.
    """

    def __init__(self, cluster: Cluster, user: str, channel: str) -> None:
        self.user = user
        self.channel = channel
        self.peer: MemoryPeer | None = None
        self.at: Position | None = None
        self.got: list[tuple[str, Any]] = []
        self.told = 0
        self.taken: list[Any] = []
        self._faults: list[Fault | Refused] = []
        self._began: Position | None = None
        self.other: list[ServerMessage] = []
        self._cluster = cluster
        self._end: anyio.Event | None = None
        self._ended: anyio.Event | None = None
        self._joining = ""
        self.is_in = False

    async def connect(self, node: Node) -> None:
        """Connect to a node, in place of what was, and ask to join."""
        await self.close()
        self._end = anyio.Event()
        await self._cluster.tasks.start(self._hold, node, self._end)
        self._ask()

    async def join(self, node: Node) -> None:
        """Connect, and ask until it is a member."""
        await self.connect(node)
        faults = len(self.faults)
        with anyio.fail_after(20):
            while not self.has_joined():
                if len(self.faults) > faults:
                    faults = len(self.faults)
                    self._ask()
                await anyio.sleep(0.01)

    def _ask(self) -> None:
        if self.peer is not None:
            self._joining = self.peer.send("JOIN_CHANNEL", self.channel, "join", {}, since=self.at)

    async def _hold(self, node: Node, end: anyio.Event, *, task_status: TaskStatus[None]) -> None:
        self._ended = ended = anyio.Event()
        try:
            async with connect(node.pond, f"/socket?user={self.user}") as self.peer:
                task_status.started()
                await end.wait()
        except ConnectionRefused:
            task_status.started()
        finally:
            ended.set()

    def has_joined(self) -> bool:
        self.read()
        return self.is_in

    async def close(self) -> None:
        self.read()
        if self._end is not None and self._ended is not None:
            self._end.set()
            await self._ended.wait()
        self.peer = None
        self.is_in = False

    def say(self, what: object) -> None:
        if self.peer is not None:
            self.peer.send("BROADCAST", self.channel, "say", {"id": what})

    def read(self) -> None:
        """Check all that has come."""
        for message in [] if self.peer is None else self.peer.drain():
            self._take(message)

    def _take(self, message: ServerMessage) -> None:
        payload = message.payload
        if isinstance(payload, Acknowledged):
            self._acknowledged(message.request_id, payload)
        elif isinstance(payload, Fault | Refused):
            self._faults.append(payload)
        elif message.action is ServerActions.BROADCAST:
            self._said(message)
        elif message.event == "taken" and isinstance(payload, dict):
            self.taken.append(payload["id"])
            # A reply that is sent after the broadcast comes after it.
            is_there = payload["id"] in [each for _, each in self.got]
            assert is_there or self.told, payload
        else:
            self.other.append(message)

    def _acknowledged(self, request_id: str, payload: Acknowledged) -> None:
        self.is_in = True
        if payload.epoch is None or payload.offset is None:
            return
        at = Position(payload.epoch, payload.offset)
        if request_id == self._joining and payload.recovered is not False:
            assert self.at is None or at == self.at, f"{self.user}: {at} after {self.at}"
        else:
            assert payload.recovered is False
            self.told += 1
        self.at = at
        self._began = self._began or at

    def _said(self, message: ServerMessage) -> None:
        assert isinstance(message.payload, dict)
        said, at = message.payload["id"], message.position
        if at is None:
            self.got.append(("", said))
            return
        assert self.at is not None
        expected = Position(self.at.epoch, self.at.offset + 1)
        assert at == expected, f"{self.user}: {at} after {self.at}"
        self.at = at
        assert self._cluster.seen.setdefault(at, said) == said
        self.got.append((at.epoch, said))

    @property
    def faults(self) -> list[Fault | Refused]:
        """The errors that answered it."""
        self.read()
        return self._faults

    def missed(self) -> list[Any]:
        """Return what was said since it joined first, in the epoch of then, and it did not hear."""
        began = self._began
        assert began is not None
        expected = [
            said
            for at, said in self._cluster.seen.items()
            if at.epoch == began.epoch and at.offset > began.offset
        ]
        return [each for each in expected if each not in self.heard]

    @property
    def heard(self) -> list[Any]:
        """What was said, in order."""
        self.read()
        return [said for _, said in self.got]


class Cluster:
    """Some nodes, and their clients.

    Attributes:
        seen: What was said at each position, to any client.
    """

    def __init__(self, tasks: TaskGroup, nodes: list[Node]) -> None:
        self.tasks = tasks
        self.nodes = nodes
        self.clients: list[Client] = []
        self.seen: dict[Position, Any] = {}

    def client(self, user: str, channel: str = KEPT) -> Client:
        client = Client(self, user, channel)
        self.clients.append(client)
        return client

    async def join_all(self, count: int, channel: str = KEPT) -> list[Client]:
        """Let some clients join, one node after another."""
        clients = [self.client(f"user{number}", channel) for number in range(count)]
        for number, client in enumerate(clients):
            await client.join(self.nodes[number % len(self.nodes)])
        return clients

    async def presence(self, node: Node, channel: str = KEPT) -> set[str]:
        return set(await node.pond.channel("/socket", channel).get_presence())

    async def until_presence(self, users: set[str], channel: str = KEPT) -> None:
        """Wait until all nodes show these users, and no other."""
        for node in self.nodes:
            await until_true(lambda node=node: self._shows(node, users, channel))  # type: ignore[misc]

    async def _shows(self, node: Node, users: set[str], channel: str) -> bool:
        handle = node.pond.channel("/socket", channel)
        try:
            shown = set(await handle.get_presence())
            return shown == users and await handle.user_count() == len(users)
        except PondError:
            return False

    async def check(self, *, seconds: float = 20.0) -> None:
        """Check what must be true once all faults are mended.

        Every client has every message once and in one order within an epoch, or was told; the
        presence is true on every node.
        """
        with anyio.fail_after(seconds):
            for node in self.nodes:
                await node.until_up()
            members = [each for each in self.clients if each.channel == KEPT and each.is_in]
            last = f"last of {len(self.seen)}"
            await until_true(lambda: self._try_say(last))
            await until(lambda: all(last in each.heard for each in members))
            # What others had said before may be appended behind it, and is heard a moment later.
            await until(lambda: _are_even(members))
            for client in members:
                twice = [said for said, count in Counter(client.got).items() if count > 1]
                assert not twice, (client.user, twice)
                assert client.told or not client.missed(), (client.user, client.missed())
            if not any(each.told for each in members):
                taken = {
                    said for each in self.clients if each.channel == KEPT for said in each.taken
                }
                assert taken <= set(self.seen.values())
            await self.until_presence({each.user for each in members})

    async def _try_say(self, what: str) -> bool:
        try:
            await self.nodes[0].pond.channel("/socket", KEPT).broadcast("said", {"id": what})
        except PondError:
            return False
        return True

    def leaves(self) -> Counter[str]:
        """How often `on_leave` was called, on all nodes, for each user."""
        return Counter(user for node in self.nodes for user in node.left)


def _are_even(clients: list[Client]) -> bool:
    for each in clients:
        each.read()
    return len({each.at for each in clients}) == 1


async def until(is_so: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait until something is so."""
    with anyio.fail_after(seconds):
        while not is_so():  # noqa: ASYNC110 - many things can make it so
            await anyio.sleep(0.01)


async def until_true(ask: Callable[[], Awaitable[bool]], *, seconds: float = 20.0) -> None:
    """Ask until the answer is yes."""
    with anyio.fail_after(seconds):
        while not await ask():  # noqa: ASYNC110 - another node is asked
            await anyio.sleep(0.05)


@asynccontextmanager
async def cluster(*backplanes: Backplane, history: History | None = None) -> AsyncIterator[Cluster]:
    """Run a pond for each backplane until the block ends."""
    nodes = [Node(each, history or History(size=10_000)) for each in backplanes]
    async with anyio.create_task_group() as tasks:
        found = Cluster(tasks, nodes)
        for node in nodes:
            await tasks.start(node.run)
        for node in nodes:
            await node.until_up()
        yield found
        tasks.cancel_scope.cancel()
