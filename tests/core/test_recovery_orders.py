"""Members talk, join, leave and come back in any order, with outboxes of any size.

A member that was told `recovered` has every message that was meant for it, once and in order.
"""

import random
from itertools import pairwise
from typing import Final

import anyio
import anyio.lowlevel
import pytest
from pondsocket import History, Options, PondSocket, Position, ServerActions, ServerMessage
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged

from tests.core.ponds import ROOM, accept_join, admit

USERS: Final = ("ann", "bob")


class Reader:
    """A user's client: it keeps its position over connections, as clients do."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.since: Position | None = None
        self.got: list[int] = []
        self.fresh_starts: list[tuple[int, int]] = []
        self.peer: MemoryPeer | None = None

    def read(self, message: ServerMessage) -> None:
        payload = message.payload
        if message.event == "ACKNOWLEDGE":
            assert isinstance(payload, Acknowledged)
            assert payload.epoch is not None
            assert payload.offset is not None
            position = Position(payload.epoch, payload.offset)
            if payload.recovered is not True:
                self.fresh_starts.append((len(self.got), position.offset))
            else:
                assert position == self.since
            self.since = position
        elif message.action is ServerActions.BROADCAST and message.position is not None:
            assert self.since is not None
            assert message.position.epoch == self.since.epoch
            assert message.position.offset > self.since.offset
            self.since = message.position
            self.got.append(message.position.offset)

    async def read_some(self, count: int) -> None:
        if self.peer is not None:
            for _ in range(min(count, self.peer.pending)):
                self.read(await self.peer.receive())

    def check(self, meant: list[int]) -> None:
        """All that was meant for it since each fresh start, up to where it stands."""
        starts = [*self.fresh_starts, (len(self.got), 10**9)]
        for (begin, offset), (end, _) in pairwise(starts):
            got = self.got[begin:end]
            due = [each for each in meant if each > offset]
            assert got == due[: len(got)]


Step = tuple[str, str, int]
KINDS: Final = [
    *["say"] * 3, *["read"] * 4, "come", "come", "cut", "to", "from", "unkept"
]  # fmt: skip


def script_of(chance: random.Random) -> list[Step]:
    """Sixty things that happen, to which member, and how much of it."""
    return [(chance.choice(KINDS), chance.choice(USERS), chance.randrange(8)) for _ in range(60)]


async def play(script: list[Step], size: int, capacity: int) -> None:
    pond = PondSocket(options=Options(event_rate=None, control_rate=None, max_refusals=None))
    pond.create_endpoint("/socket", admit).create_channel(
        "/room/:id", accept_join, history=History(size=size)
    )
    channel = pond.channel("/socket", ROOM)
    readers = {user: Reader(user) for user in USERS}
    meant: dict[str, list[int]] = {user: [] for user in USERS}
    gone: dict[str, anyio.Event] = {}
    top = 0

    async def visit(reader: Reader, leaving: anyio.Event, came: anyio.Event) -> None:
        async with connect(pond, f"/socket?user={reader.user}", capacity=capacity) as peer:
            reader.peer = peer
            peer.drain()
            peer.send("JOIN_CHANNEL", ROOM, "join", since=reader.since)
            while not peer.pending:
                await peer.changed()
            came.set()
            await leaving.wait()
        reader.peer = None

    async with anyio.create_task_group() as tasks:

        async def come(user: str) -> None:
            if user in gone:
                return
            gone[user], came = anyio.Event(), anyio.Event()
            tasks.start_soon(visit, readers[user], gone[user], came)
            await came.wait()

        def tell(*users: str) -> None:
            nonlocal top
            top += 1
            for each in users:
                meant[each].append(top)

        async def cut(user: str) -> None:
            if user in gone:
                gone.pop(user).set()
                while readers[user].peer is not None:
                    await anyio.lowlevel.checkpoint()

        for user in USERS:
            await come(user)
        for kind, user, count in script:
            if (peer := readers[user].peer) is not None and peer.closed is not None:
                await cut(user)
            match kind:
                case "say":
                    for _ in range(count + 1):
                        tell(*USERS)
                        await channel.broadcast("said", {})
                case "to":
                    tell(user)
                    await channel.broadcast_to("said", {}, user)
                case "from":
                    tell(*(each for each in USERS if each != user))
                    await channel.broadcast_from("said", {}, user)
                case "unkept":
                    await channel.broadcast("unkept", {}, history=False)
                case "read":
                    await readers[user].read_some(count)
                case "cut":
                    await cut(user)
                case _:
                    await come(user)
        for user, reader in readers.items():
            await cut(user)
            await come(user)
            peer = reader.peer
            while peer is not None and peer.pending:
                await reader.read_some(peer.pending)
            reader.check(meant[user])
            # The end is reached unless the history ran away from it, which it was told of.
            if peer is not None and peer.closed is None:
                assert reader.since is not None
                begin, offset = reader.fresh_starts[-1]
                assert reader.got[begin:] == [each for each in meant[user] if each > offset]
            await cut(user)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("capacity", [8, 16, 1_000])
@pytest.mark.parametrize("size", [8, 100])
async def test_in_any_order_nothing_is_lost_doubled_or_out_of_order(
    size: int, capacity: int
) -> None:
    for seed in range(8):
        await play(script_of(random.Random(seed)), size, capacity)
