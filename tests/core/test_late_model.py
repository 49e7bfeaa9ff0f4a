"""Any order of talking, joining and leaving, and of what a store that is late does meanwhile."""

import random
from typing import Any, Final

import anyio
import pytest
from pondsocket import Position
from pondsocket._history.slice import Audience
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged

from tests.core.late_store import LateStore, Pending, build_late
from tests.core.members import settled
from tests.core.ponds import ROOM, PondSetup
from tests.virtual_time import jumping_loops

anyio_backend = jumping_loops

USERS: Final = ("ann", "bob", "cat")
# Audiences, as the arguments of the methods that have them.
CALLS: Final = (("broadcast", None), ("broadcast_to", "ann"), ("broadcast_from", "ann"))


class Reader:
    """A user's client, which keeps its position, as clients do."""

    def __init__(self, peer: MemoryPeer) -> None:
        self.peer = peer
        self.since: Position | None = None
        self.asked: dict[str, Position | None] = {}

    def ask_to_join(self, *, recovers: bool) -> None:
        since = self.since if recovers else None
        self.asked[self.peer.send("JOIN_CHANNEL", ROOM, "join", since=since)] = since

    def read(self, due: dict[int, Audience | None], user: str) -> None:
        """Read all that has come, which must be in order and without a gap."""
        for message in self.peer.drain():
            if isinstance(message.payload, Acknowledged):
                assert message.payload.offset is not None
                assert message.payload.epoch is not None
                self.since = Position(message.payload.epoch, message.payload.offset)
                assert message.request_id is not None
                asked = self.asked[message.request_id]
                assert message.payload.recovered is (None if asked is None else True)
                assert asked in (None, self.since)
            elif message.position is not None:
                assert self.since is not None
                after, offset = self.since.offset, message.position.offset
                assert offset > after, "twice, or out of order"
                skipped = [each for each in range(after + 1, offset) if includes(due[each], user)]
                assert skipped == []
                assert includes(due[offset], user)
                self.since = message.position


def includes(audience: Audience | None, user: str) -> bool:
    return audience is None or audience.includes(user)


class Play:
    """A room of three users, and a store that is late."""

    def __init__(
        self, setup: PondSetup, store: LateStore, peers: dict[str, MemoryPeer], seed: int
    ) -> None:
        self.handle = setup.pond.channel("/socket", ROOM)
        self.store = store
        self.readers = {user: Reader(peer) for user, peer in peers.items()}
        self.random = random.Random(seed)
        self.due: dict[int, Audience | None] = {}  # by offset

    def step(self) -> None:
        """Do one thing."""
        reader = self.readers[self.random.choice(USERS)]
        match self.random.choice("ttttaaaakkkkrrrjjlud"):
            case "t":
                self.talk()
            case "u":
                self.handle.broadcast_nowait("unkept", {}, history=False)
            case "a" if self.store.appends:
                self.random.choice(self.store.appends).answer()
            case "k" if self.store.appends:
                self.random.choice(self.store.appends).apply()
            case "r" if self.store.reads:
                self.random.choice(self.store.reads).answer()
            case "d" if self.store.reads:
                self.random.choice(self.store.reads).apply()
            case "j":
                reader.ask_to_join(recovers=self.random.random() < 0.7)
            case "l":
                reader.peer.send("LEAVE_CHANNEL", ROOM, "leave")
            case _:
                pass

    def talk(self) -> None:
        name, user = self.random.choice(CALLS)
        if sum(append.result is None for append in self.store.appends) > 40:
            return
        arguments = () if user is None else (user,)
        getattr(self.handle, f"{name}_nowait")("said", {"n": name}, *arguments)

    def note(self) -> None:
        """Note the audiences of what the store has done."""
        audiences = {
            b'{"n":"broadcast"}': None,
            b'{"n":"broadcast_to"}': Audience(("ann",)),
            b'{"n":"broadcast_from"}': Audience(("ann",), is_exclusion=True),
        }
        for append in self.store.appends:
            if append.result is not None:
                self.due[append.result.offset] = audiences[append.shown]

    def read(self) -> None:
        self.note()
        for user, reader in self.readers.items():
            reader.read(self.due, user)


@pytest.mark.parametrize("seed", range(40))
async def test_each_member_gets_all_that_is_for_it_once_and_in_order(seed: int) -> None:
    setup, store = build_late(size=1_000)
    async with setup.pond, anyio.create_task_group() as tasks:
        peers: dict[str, MemoryPeer] = {}
        stop = anyio.Event()

        async def serve(user: str) -> None:
            async with connect(setup.pond, f"/socket?user={user}") as peer:
                peer.drain()
                peers[user] = peer
                await stop.wait()

        for user in USERS:
            tasks.start_soon(serve, user)
        await settled()
        play = Play(setup, store, peers, seed)
        for _ in range(120):
            play.step()
            if play.random.random() < 0.7:
                for _ in range(play.random.randint(1, 12)):
                    await anyio.lowlevel.checkpoint()
                play.read()
        # All join, so that all that is left to come must come.
        for reader in play.readers.values():
            reader.ask_to_join(recovers=True)
        for _ in range(100):
            calls: list[Pending[Any]] = [*store.appends, *store.reads]
            if all(each.result for each in calls):
                break
            store.answer_all()
            await settled()
        store.answer_all()
        await settled()
        play.talk()
        store.answer_all()
        await settled()
        play.read()
        top = max(play.due)
        for user, reader in play.readers.items():
            assert reader.peer.closed is None
            assert reader.since is not None
            missed = range(reader.since.offset + 1, top + 1)
            assert [each for each in missed if includes(play.due[each], user)] == []
        stop.set()
