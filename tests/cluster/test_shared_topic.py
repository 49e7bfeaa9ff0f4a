"""Members of a history that begins anew: they are told, stay joined, and go on."""

import anyio
import pytest
from pondsocket import OutgoingContext, Position
from pondsocket._replica.envelope import Envelope, pack
from pondsocket.backplane import Append, Emit, Keep, Put
from pondsocket.backplane.memory import MemoryHub

from tests.cluster.ponds import (
    KEPT,
    PLAIN,
    SOCKET,
    ClusterPond,
    acknowledged,
    client,
    said,
    serving,
    told,
)
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


async def test_members_are_told_that_messages_are_lost_and_then_get_what_is_kept() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        one.link.cut(for_good=True)
        for number in range(103):  # 100 are kept
            await two.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        await told()
        ann.drain()
        one.link.mend()
        await told()
        first, *rest = [each for each in ann.drain() if each.event in ("ACKNOWLEDGE", "said")]
        answer = acknowledged(first)
        assert (answer.offset, answer.recovered, answer.presence) == (3, False, None)
        assert [each.position for each in rest] == [
            Position(answer.epoch or "", offset) for offset in range(4, 104)
        ]
        assert ann.closed is None


async def test_a_short_cut_is_filled_without_a_word() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        one.link.cut(for_good=True)
        for number in range(20):
            await two.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        one.link.mend()
        await told()
        events = [each.event for each in ann.drain()]
        assert "ACKNOWLEDGE" not in events
        assert events.count("said") == 20


async def test_a_lost_push_is_found_by_the_next() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        one.link.silence()
        await two.channel(SOCKET, KEPT).broadcast("said", {"text": 0})
        one.link._faults.is_silent = False
        await two.channel(SOCKET, KEPT).broadcast("said", {"text": 1})
        await told()
        assert said(ann) == [0, 1]


async def test_a_member_that_is_catching_up_when_it_begins_anew_is_closed() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one):
        for number in range(50):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        epoch = hub.engine.read(f"{SOCKET}\x1f{KEPT}", one_keep(), anyio.current_time()).epoch
        async with client(one, "ann", capacity=20) as ann:
            ann.send("JOIN_CHANNEL", KEPT, "join", {}, since=Position(epoch, 0))
            await told()
            assert ann.closed is None
            hub.stop()
            hub.start(forget=True)
            await told()
            assert ann.closed is not None  # it comes back, and is told


def one_keep() -> Keep:
    return Keep(100, 300.0, 1_048_576, 86_400.0)


async def test_a_message_of_another_version_is_a_gap_that_is_told() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(KEPT)
        handle = one.channel(SOCKET, KEPT)
        await handle.broadcast("said", {"text": 1})
        op = Append(f"{SOCKET}\x1f{KEPT}", b'[99,"new"]\n{}', one_keep())
        now = anyio.current_time()
        hub.send(hub.engine.apply("another", "", 1, [op], now)[1])
        await handle.broadcast("said", {"text": 3})
        await told()
        messages = [each for each in ann.drain() if each.event in ("ACKNOWLEDGE", "said")]
        assert [each.event for each in messages] == ["said", "ACKNOWLEDGE", "said"]
        assert acknowledged(messages[1]).offset == 2
        async with client(one, "bob") as bob:
            since = Position(messages[0].position.epoch if messages[0].position else "", 1)
            assert acknowledged(await bob.join(KEPT, since=since)).recovered is False


@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_a_history_that_the_engine_has_evicted_begins_anew_at_the_next_broadcast(
    delay: float,
) -> None:
    hub = MemoryHub(delay=delay)
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann, client(one, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        await one.channel(SOCKET, KEPT).broadcast("said", {"text": 1})
        ann.drain()
        bob.drain()
        hub.engine._topics.clear()
        ann.send("BROADCAST", KEPT, "say_to_others", {"text": 2})
        await told()
        assert [each.event for each in ann.drain()] == ["ACKNOWLEDGE"]
        assert [each.event for each in bob.drain()] == ["ACKNOWLEDGE", "said"]
        hub.engine._topics.clear()
        await one.channel(SOCKET, KEPT).broadcast("said", {"text": 3})
        # It is delivered here when the call returns.
        assert [each.event for each in bob.drain()] == ["ACKNOWLEDGE", "said"]


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_a_message_that_cannot_be_delivered_ends_no_link(
    room: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    next(iter(one.endpoints)).routing.find_channel(room, SOCKET).owner.on_outgoing(  # type: ignore[union-attr]
        "said", look
    )
    async with serving(one), client(one, "ann") as ann:
        await ann.join(room)
        ann.drain()
        envelope = Envelope("other", 1, "said", "r", None, b"no JSON")
        topic = f"{SOCKET}\x1f{room}"
        op: Append | Emit = Emit(topic, pack(envelope))
        if room == KEPT:
            op = Append(topic, pack(envelope), one_keep())
        hub.send(hub.engine.apply("other", "", 1, [op], anyio.current_time())[1])
        await told()
        assert "could not be delivered" in caplog.text
        assert [each.event for each in ann.drain()] == ["ACKNOWLEDGE"] * (room == KEPT)
        await one.channel(SOCKET, room).broadcast("said", {"text": 2})
        await told()
        assert said(ann) == [2]


async def look(ctx: OutgoingContext) -> None:
    ctx.get_payload()  # which decodes it


async def test_a_presence_that_is_none_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(PLAIN, {"show": 1})
        now = anyio.current_time()
        hub.engine.grant("other", now)
        put = Put(f"{SOCKET}\x1f{PLAIN}", "o1", "bob", b"no JSON")
        hub.send(hub.engine.apply("other", "other", 1, [put], now)[1])
        await told()
        assert "A presence of another version was left out" in caplog.text
        assert set(await one.channel(SOCKET, PLAIN).get_presence()) == {"ann"}


async def test_a_join_that_ends_while_it_reads_leaves_no_gap_to_the_members() -> None:
    hub = MemoryHub(delay=0.2)
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        await anyio.sleep(1)
        one.link.silence()
        await two.channel(SOCKET, KEPT).broadcast("said", {"text": 0})
        await anyio.sleep(1)
        one.link._faults.is_silent = False
        one._node._topics[f"{SOCKET}\x1f{KEPT}"].suspect()  # type: ignore[union-attr]
        async with client(one, "bob") as bob:
            bob.send("JOIN_CHANNEL", KEPT, "join", {})
            await anyio.sleep(0.1)  # it is reading
        await anyio.sleep(2)
        assert said(ann) == [0]
