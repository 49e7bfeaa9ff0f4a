"""What every engine has to do, seen by nodes without ponds; see `pondsocket.backplane`."""

from __future__ import annotations

import anyio
import pytest
from pondsocket.backplane import SEPARATOR, Append, Change, Drop, Emit, Entry, Keep, Op, Put
from pondsocket_common import Position

from .engines import LEASE, NewBackplane, loops_of_engines
from .recording import KEEP, RecordingNode, running

pytestmark = pytest.mark.anyio
anyio_backend = loops_of_engines

TOPIC = f"/socket{SEPARATOR}/room/1"
NAMES = [
    f"/s{SEPARATOR}/{name}"
    for name in (
        "{a}*.[b]?",
        "a\0b",
        "ü €\U0001f600",
        "a b\nc",
        "{pond}",
        "}",
        "x" * 1_000,
        "\\",
        "'",
    )
]


def entries_of(node: RecordingNode, topic: str = TOPIC) -> list[tuple[Position, Entry]]:
    return [(at, entry) for _, at, entry in node.told("appended", topic)]


def data_of(node: RecordingNode, topic: str = TOPIC) -> list[bytes]:
    return [entry.data for _, entry in entries_of(node, topic)]


# --- messages -------------------------------------------------------------------------------------


async def test_two_senders_have_one_order_on_three_nodes(engine: NewBackplane) -> None:
    """The engine's order is the only one, on every node, the sender's too."""
    async with running(engine(), engine(), engine()) as nodes:
        for node in nodes:
            await node.backplane.subscribe([TOPIC])

        async def send(node: RecordingNode) -> None:
            for number in range(100):
                await node.append(TOPIC, b"%s %d" % (node.name.encode(), number))

        async with anyio.create_task_group() as tasks:
            for node in nodes[:2]:
                tasks.start_soon(send, node)
        for node in nodes:
            await node.until(lambda node=node: len(entries_of(node)) >= 200)  # type: ignore[misc]
        first = entries_of(nodes[0])
        assert [at.offset for at, _ in first] == [*range(1, 201)]
        assert len({at.epoch for at, _ in first}) == 1
        assert entries_of(nodes[1]) == entries_of(nodes[2]) == first
        found = await nodes[2].read(TOPIC, Position(first[0][0].epoch, 100))
        assert list(found.entries) == [entry for _, entry in first[100:]]


async def test_results_are_the_positions(engine: NewBackplane) -> None:
    """`apply` carries out operations in order, and returns one result for each."""
    async with running(engine(), engine()) as (node, other):
        await node.backplane.subscribe([TOPIC])
        await other.backplane.subscribe([TOPIC])
        results = await node.apply(
            Append(TOPIC, b"one", KEEP),
            Emit(TOPIC, b"two"),
            Put(TOPIC, "r1", "ann", b"{}"),
            Append(TOPIC, b"three", KEEP),
            Drop(TOPIC, ("r1", "r2"), ""),
            Emit(f"{TOPIC}0", b"four"),
        )
        first, second = results[0], results[3]
        assert isinstance(first, Position)
        assert second == Position(first.epoch, 2)
        assert results == [first, 2, 1, second, ("ann",), 0]
        await other.until(lambda: len(other.told("shown")) == 2)
        kinds = [each[0] for each in other.log if each[0] not in ("up", "lease_lost")]
        assert kinds == ["appended", "emitted", "shown", "appended", "shown"]


async def test_a_confirmed_subscription_gets_the_next_message(engine: NewBackplane) -> None:
    """Subscribed: the next message arrives, 2,000 of 2,000."""
    topics = [f"{TOPIC}{number}" for number in range(2_000)]
    async with running(engine(), engine()) as (node, sender):

        async def follow(some: list[str]) -> None:
            for topic in some:
                await node.backplane.subscribe([topic])
                (receivers,) = await sender_apply(Emit(topic, b"x"))
                assert receivers == 1

        lock = anyio.Lock()

        async def sender_apply(op: Op) -> list[object]:
            async with lock:
                return [*await sender.apply(op)]

        async with anyio.create_task_group() as tasks:
            for start in range(10):
                tasks.start_soon(follow, topics[start::10])
        await node.until(lambda: len(node.told("emitted")) >= 2_000)
        assert {topic for topic, _ in node.told("emitted")} == set(topics)
        assert len(node.told("emitted")) == 2_000


async def test_what_is_unsubscribed_is_not_heard(engine: NewBackplane) -> None:
    async with running(engine(), engine()) as (node, sender):
        await node.backplane.subscribe([TOPIC, f"{TOPIC}2"])
        await node.backplane.unsubscribe([TOPIC])
        await node.backplane.unsubscribe([])
        await node.read(TOPIC)  # behind it
        assert await sender.apply(Emit(TOPIC, b"1"), Emit(f"{TOPIC}2", b"2")) == [0, 1]
        await node.until(lambda: node.told("emitted"))
        assert node.told("emitted") == [(f"{TOPIC}2", b"2")]


async def test_a_subscription_right_after_its_end_is_confirmed_anew(engine: NewBackplane) -> None:
    async with running(engine()) as (node,):
        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(node.backplane.subscribe, [TOPIC])
                tasks.start_soon(node.backplane.unsubscribe, [TOPIC])
                tasks.start_soon(node.backplane.subscribe, [TOPIC])
            await node.backplane.subscribe([TOPIC])
            assert await node.apply(Emit(TOPIC, b"")) == [1]


async def test_the_same_number_is_carried_out_once(engine: NewBackplane) -> None:
    """Once for each number of a node: the same number again gives the first results."""
    async with running(engine(), engine()) as (node, other):
        await other.backplane.subscribe([TOPIC])
        ops = Append(TOPIC, b"a", KEEP), Put(TOPIC, "r", "ann", b"{}"), Drop(TOPIC, ("r",), "")
        first = await node.apply(*ops, seq=5)
        assert await node.apply(*ops, seq=5) == first
        (at,) = await node.apply(Append(TOPIC, b"b", KEEP), seq=6)
        assert isinstance(at, Position)
        assert at.offset == 2
        # Another node counts for itself.
        (at,) = await other.apply(Append(TOPIC, b"c", KEEP), seq=5)
        assert isinstance(at, Position)
        assert at.offset == 3
        await other.until(lambda: len(entries_of(other)) == 3)
        assert data_of(other) == [b"a", b"b", b"c"]
        assert len(other.told("shown")) == 2


async def test_the_same_once_is_appended_once(engine: NewBackplane) -> None:
    """A message with the same `once` has one position, whichever node appends it."""
    async with running(engine(), engine()) as (node, other):
        await node.backplane.subscribe([TOPIC])
        first = await node.append(TOPIC, b"a", once="task:1")
        assert await other.append(TOPIC, b"b", once="task:1") == first
        following = Position(first.epoch, 2)
        assert await other.append(TOPIC, b"c", once="task:2") == following
        # It counts for its topic alone.
        assert (await other.append(f"{TOPIC}:task", b"d", once="1")).offset == 1
        assert (await node.read(TOPIC)).top == 2
        await node.until(lambda: len(entries_of(node)) == 2)
        assert data_of(node) == [b"a", b"c"]


async def test_trims_by_size(engine: NewBackplane) -> None:
    async with running(engine()) as (node,):
        keep = KEEP._replace(size=10)
        for number in range(35):
            await node.append(TOPIC, b"%d" % number, keep)
            found = await node.read(TOPIC, None, keep, 10)
            expected = [b"%d" % each for each in range(max(0, number - 9), number + 1)]
            assert [each.data for each in found.entries] == expected
            assert found.top == number + 1


async def test_trims_by_age(engine: NewBackplane) -> None:
    async with running(engine()) as (node,):
        keep = KEEP._replace(ttl=0.5)
        await node.append(TOPIC, b"old", keep)
        await anyio.sleep(0.3)
        await node.append(TOPIC, b"new", keep)
        assert [each.data for each in (await node.read(TOPIC, None, keep)).entries] == [
            b"old",
            b"new",
        ]
        await anyio.sleep(0.3)
        found = await node.read(TOPIC, None, keep)
        assert [each.data for each in found.entries] == [b"new"]
        await anyio.sleep(0.6)
        found = await node.read(TOPIC, None, keep)
        assert (found.entries, found.top) == ((), 2)
        assert (await node.append(TOPIC, b"next", keep)).offset == 3
        assert [each.data for each in (await node.read(TOPIC, None, keep)).entries] == [b"next"]


async def test_trims_by_bytes(engine: NewBackplane) -> None:
    async with running(engine()) as (node,):
        keep = KEEP._replace(max_bytes=100)
        for number in range(20):
            await node.append(TOPIC, b"%02d" % number * 15, keep)
        found = await node.read(TOPIC, None, keep)
        assert [each.data[:2] for each in found.entries] == [b"17", b"18", b"19"]
        await node.append(TOPIC, b"y" * 101, keep)  # more than all
        found = await node.read(TOPIC, None, keep)
        assert (found.top, found.entries) == (21, ())


async def test_a_position_outlives_its_messages(engine: NewBackplane) -> None:
    """A topic begins anew once its position has not been used for `position_ttl`."""
    async with running(engine()) as (node,):
        keep = Keep(10, 0.1, 1_000, 0.6)
        first = await node.append(TOPIC, b"a", keep)
        await anyio.sleep(0.3)
        assert await node.append(TOPIC, b"b", keep) == Position(first.epoch, 2)
        await anyio.sleep(0.8)
        following = await node.append(TOPIC, b"c", keep)
        assert (following.epoch != first.epoch, following.offset) == (True, 1)


async def test_reads_after_a_position(engine: NewBackplane) -> None:
    """Read since the top, the future, a foreign epoch, and what is not kept any more."""
    async with running(engine()) as (node,):
        keep = KEEP._replace(size=10)
        empty = await node.read(TOPIC, None, keep)
        assert (empty.top, empty.entries) == (0, ())
        for number in range(1, 21):
            at = await node.append(TOPIC, b"%d" % number, keep)
        assert at.epoch == empty.epoch

        async def offsets(since: Position | None, latest: int = 0) -> list[int]:
            found = await node.read(TOPIC, since, keep, latest)
            assert (found.epoch, found.top) == (at.epoch, 20)
            assert found.begins_after == 20 - len(found.entries)
            return [each.offset for each in found.entries]

        assert await offsets(at) == []
        assert await offsets(at, 3) == [18, 19, 20]
        assert await offsets(Position(at.epoch, 15)) == [16, 17, 18, 19, 20]
        assert await offsets(Position(at.epoch, 15), 3) == [16, 17, 18, 19, 20]
        assert await offsets(Position(at.epoch, 15), 7) == [*range(14, 21)]
        whole = [*range(11, 21)]
        assert await offsets(Position(at.epoch, 10)) == whole
        assert await offsets(Position(at.epoch, 9)) == whole
        assert await offsets(Position(at.epoch, 0)) == whole
        assert await offsets(Position(at.epoch, 21)) == []
        assert await offsets(Position(at.epoch, 10**12), 2) == [19, 20]
        assert await offsets(Position("another", 20)) == whole
        assert await offsets(None) == whole
        assert await offsets(Position(at.epoch, 15), 1_000) == whole


async def test_large_histories_are_read_whole(engine: NewBackplane) -> None:
    """However much is kept, it is read, and the link stays."""
    async with running(engine()) as (node,):
        keep = KEEP._replace(size=1_000, max_bytes=100_000_000)
        for _ in range(80):
            await node.append(TOPIC, b"x" * 500_000, keep)
        at = await node.append(TOPIC, b"last", keep)
        found = await node.read(TOPIC, None, keep)
        assert [each.offset for each in found.entries] == [*range(1, 82)]
        found = await node.read(TOPIC, Position(at.epoch, 40), keep)
        assert [each.offset for each in found.entries] == [*range(41, 82)]
        counts: list[int] = []

        async def read() -> None:
            counts.append(len((await node.read(TOPIC, Position(at.epoch, 60), keep)).entries))

        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(read)
        assert counts == [21] * 16
        assert node.ups == 1


async def test_a_message_is_spared_its_sender_that_is_there_once(engine: NewBackplane) -> None:
    """`spare`: not replayed to that user, unless the user has a second membership."""
    async with running(engine(), engine()) as (node, other):
        await node.backplane.subscribe([TOPIC])
        await node.put(TOPIC, "r1", "ann")
        await node.append(TOPIC, b"1", spare="ann")
        await other.put(TOPIC, "r2", "ann")
        await node.append(TOPIC, b"2", spare="ann")
        await other.apply(Drop(TOPIC, ("r2",), ""))
        await node.append(TOPIC, b"3", spare="ann")
        await node.append(TOPIC, b"4", spare="bob")
        await node.append(TOPIC, b"5")
        spared = [each.spared for each in (await node.read(TOPIC)).entries]
        assert spared == ["ann", "", "ann", "bob", ""]
        await node.until(lambda: len(entries_of(node)) == 5)
        assert [entry.spared for _, entry in entries_of(node)] == spared


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\r\n", bytes(range(256)), b"x" * 1_048_576, "ü\U0001f600".encode()]
)
async def test_any_data_comes_as_it_is(engine: NewBackplane, data: bytes) -> None:
    """Data may be empty, 1 MiB, and hold NUL and any bytes."""
    async with running(engine(), engine()) as (node, other):
        keep = KEEP._replace(max_bytes=10_000_000)
        await other.backplane.subscribe([TOPIC])
        await node.apply(Append(TOPIC, data, keep), Emit(TOPIC, data))
        shown = data or b"{}"
        await node.put(TOPIC, "ref", "ann", shown)
        await other.until(lambda: other.told("shown"))
        assert data_of(other) == [data]
        assert other.told("emitted") == [(TOPIC, data)]
        assert other.told("shown")[0][2] == (Change("ref", "ann", shown),)
        assert [each.data for each in (await other.read(TOPIC, None, keep)).entries] == [data]
        assert (await other.backplane.roster(TOPIC)).shown == (Change("ref", "ann", shown),)


@pytest.mark.parametrize("topic", NAMES)
async def test_any_text_names_a_topic_and_a_user(engine: NewBackplane, topic: str) -> None:
    """Topics and users are any Unicode: `{}*.`, NUL, line breaks."""
    user = topic
    async with running(engine(), engine()) as (node, other):
        await other.backplane.subscribe([topic, TOPIC])
        await node.append(topic, b"a", spare=user, once=topic)
        await node.put(topic, "r1", user, b"{}")
        await node.append(TOPIC, b"b")
        await other.until(lambda: len(other.log) >= 5)
        assert data_of(other, topic) == [b"a"]
        assert data_of(other) == [b"b"]
        assert other.told("shown")[0][2] == (Change("r1", user, b"{}"),)
        assert await other.backplane.count(topic) == 1
        assert await other.backplane.count(topic, user) == 1
        assert [*await other.backplane.held_by(node.lease, 9)] == [(topic, "r1")]
        assert await node.apply(Drop(topic, ("r1",), node.lease)) == [(user,)]


# --- presence -------------------------------------------------------------------------------------


async def test_changes_of_presence_have_versions_without_a_gap(engine: NewBackplane) -> None:
    """Each change that shows has the next version; a roster has one, too."""
    async with running(engine(), engine()) as (node, other):
        await other.backplane.subscribe([TOPIC])
        await node.put(TOPIC, "r1", "ann")  # shows nothing
        await node.put(TOPIC, "r1", "ann", b'{"a":1}')
        await node.put(TOPIC, "r1", "ann", b'{"a":1}')  # shows the same
        await other.put(TOPIC, "r2", "bob", b'{"b":1}')
        roster = await other.backplane.roster(TOPIC)
        assert set(roster.shown) == {
            Change("r1", "ann", b'{"a":1}'),
            Change("r2", "bob", b'{"b":1}'),
        }
        await node.put(TOPIC, "r1", "ann")
        await node.apply(Drop(TOPIC, ("r1",), node.lease))  # showed nothing any more
        await other.apply(Drop(TOPIC, ("r2", "none"), other.lease))
        await other.until(lambda: len(other.told("shown")) == 4)
        told = [(at.offset, changes) for _, at, changes in other.told("shown")]
        assert told == [
            (1, (Change("r1", "ann", b'{"a":1}'),)),
            (2, (Change("r2", "bob", b'{"b":1}'),)),
            (3, (Change("r1", "ann", None),)),
            (4, (Change("r2", "bob", None),)),
        ]
        assert roster.at == Position(other.told("shown")[0][1].epoch, 2)
        assert (await node.backplane.roster(TOPIC)).at.offset == 4


async def test_the_last_membership_of_a_user_is_told_by_its_drop(engine: NewBackplane) -> None:
    """Two memberships of a user, on two nodes: the second drop says that the user is gone."""
    async with running(engine(), engine()) as (node, other):
        await node.put(TOPIC, "r1", "ann")
        await node.put(TOPIC, "r2", "bob")
        await other.put(TOPIC, "r3", "ann", b"{}")
        counts = [await node.backplane.count(TOPIC, user) for user in ("", "ann", "bob", "cat")]
        assert counts == [2, 2, 1, 0]
        assert await other.apply(Drop(TOPIC, ("r3",), other.lease)) == [()]
        assert await node.apply(Drop(TOPIC, ("r1", "r2", "r1"), node.lease)) == [("ann", "bob")]
        assert await node.apply(Drop(TOPIC, ("r1", "r2"), node.lease)) == [()]
        assert await node.backplane.count(TOPIC) == 0


async def test_a_drop_ends_only_what_its_lease_holds(engine: NewBackplane) -> None:
    async with running(engine(), engine()) as (node, other):
        await node.put(TOPIC, "r1", "ann", b"{}")
        assert await other.apply(Drop(TOPIC, ("r1",), other.lease)) == [()]
        assert await other.backplane.count(TOPIC) == 1
        # A node does not know under which lease its own was put: the lease may change before it.
        assert await node.apply(Drop(TOPIC, ("r1",), "")) == [("ann",)]


async def test_held_by_names_what_a_node_holds(engine: NewBackplane) -> None:
    async with running(engine(), engine()) as (node, other):
        await node.apply(
            *[Put(f"{TOPIC}{each % 5}", f"r{each}", "ann", None) for each in range(50)]
        )
        held = await other.backplane.held_by(node.lease, 100)
        assert sorted(held) == sorted((f"{TOPIC}{each % 5}", f"r{each}") for each in range(50))
        assert len(await other.backplane.held_by(node.lease, 7)) == 7
        await node.apply(
            *[Drop(f"{TOPIC}{each}", tuple(f"r{n}" for n in range(50)), "") for each in range(5)]
        )
        assert [*await other.backplane.held_by(node.lease, 100)] == []
        assert [*await other.backplane.held_by("none", 100)] == []


# --- leases ---------------------------------------------------------------------------------------


async def test_a_node_that_ends_without_leaving_is_told_dead(engine: NewBackplane) -> None:
    """Its lease ends, and every other node is told, until nothing is held under it."""
    async with running(engine(), engine()) as survivors:
        async with running(engine()) as (gone,):
            await gone.put(TOPIC, "r1", "ann", b"{}")
        began = anyio.current_time()
        for node in survivors:
            await node.until(lambda node=node: (gone.lease,) in node.told("dead"))  # type: ignore[misc]
        assert LEASE - 1.1 <= anyio.current_time() - began <= LEASE + 1.5
        node, other = survivors
        assert [*await node.backplane.held_by(gone.lease, 9)] == [(TOPIC, "r1")]
        drop = Drop(TOPIC, ("r1",), gone.lease)
        results = [*await node.apply(drop), *await other.apply(drop)]
        assert results == [("ann",), ()]
        for each in survivors:
            assert [*await each.backplane.held_by(gone.lease, 9)] == []
        await anyio.sleep(1.1)
        for each in survivors:
            each.log.clear()
        await anyio.sleep(1.1)
        assert [each.told("dead") for each in survivors] == [[], []]


async def test_a_node_that_leaves_is_dead_at_once_or_not_at_all(engine: NewBackplane) -> None:
    """A lease that is given up ends at once; one without memberships is not told."""
    async with running(engine()) as (node,):
        async with running(engine()) as (gone,):
            await gone.backplane.leave()
        async with running(engine()) as (holding,):
            await holding.put(TOPIC, "r1", "ann")
            await holding.backplane.leave()
        began = anyio.current_time()
        await node.until(lambda: (holding.lease,) in node.told("dead"))
        assert anyio.current_time() - began < 1.2
        await node.apply(Drop(TOPIC, ("r1",), holding.lease))
        await node.backplane.held_by(holding.lease, 1)
        await anyio.sleep(LEASE + 1.1)
        assert (gone.lease,) not in node.told("dead")


async def test_a_put_without_a_living_lease_holds_nothing(engine: NewBackplane) -> None:
    async with running(engine()) as (node,):
        assert await node.put(TOPIC, "r1", "ann") == 0
        await node.backplane.leave()
        assert await node.put(TOPIC, "r2", "bob", b"{}") is None
        assert await node.backplane.count(TOPIC) == 1
        leases = len(node.told("lease_lost"))
        await node.until(lambda: len(node.told("lease_lost")) > leases)
        assert await node.put(TOPIC, "r2", "bob", b"{}") == 1


async def test_all_nodes_have_one_secret(engine: NewBackplane) -> None:
    async with running(engine(), engine()) as (node, other):
        assert node.backplane.key == other.backplane.key
        assert len(node.backplane.key) >= 16


# --- calls that are given up ----------------------------------------------------------------------


async def test_calls_may_be_cancelled_anywhere(engine: NewBackplane) -> None:
    """A call that is cancelled disturbs no other, and its number says what became of it."""
    async with running(engine()) as (node,):
        backplane = node.backplane
        await backplane.subscribe([TOPIC])
        for number in range(30):
            data = b"%d" % number
            async with anyio.create_task_group() as tasks:
                for call in (
                    lambda: backplane.read(TOPIC, None, KEEP, 0),
                    lambda: backplane.roster(TOPIC),
                    lambda: backplane.count(TOPIC),
                    lambda: backplane.subscribe([f"{TOPIC}2"]),
                    lambda: backplane.held_by(node.lease, 3),
                ):
                    tasks.start_soon(call)
                for _ in range(number % 5):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            op = Append(TOPIC, data, KEEP)
            with anyio.move_on_after(0) if number % 3 == 0 else anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(backplane.apply, number + 1, [op])
                    for _ in range(number % 4):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
            assert await node.apply(op, seq=number + 1) == [
                Position((await node.read(TOPIC)).epoch, number + 1)
            ]
        await node.until(lambda: len(entries_of(node)) == 30)
        assert data_of(node) == [b"%d" % number for number in range(30)]


async def test_fifty_thousand_topics(engine: NewBackplane, setting: tuple[str, str]) -> None:
    """A node subscribes to 50,000 topics in seconds."""
    topics = [f"{TOPIC}{number}" for number in range(50_000)]
    async with running(engine(), engine()) as (node, sender):
        began = anyio.current_time()
        await node.backplane.subscribe(topics)
        await sender.apply(*[Emit(topic, b"") for topic in topics[::1_000]])
        await node.until(lambda: len(node.told("emitted")) == 50)
        assert anyio.current_time() - began < 10
