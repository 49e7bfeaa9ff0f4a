"""The broadcasts of a shared channel: who gets them, and what the sender is told."""

import anyio
import pytest
from pondsocket import UsageError
from pondsocket.backplane import BackplaneUnavailable, PublishUncertain
from pondsocket.backplane.memory import MemoryHub
from pondsocket_common import Position

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


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_some_users_get_it_wherever_they_are(room: str) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with (
        serving(one, two),
        client(one, "ann") as ann,
        client(two, "ann") as too,
        client(two, "bob") as bob,
    ):
        for peer in (ann, too, bob):
            await peer.join(room)
        handle = one.channel(SOCKET, room)
        await handle.broadcast_to("said", {"text": "to ann"}, "ann")
        await handle.broadcast_from("said", {"text": "not to ann"}, "ann")
        await told()
        assert said(ann) == said(too) == ["to ann"]
        assert said(bob) == ["not to ann"]


@pytest.mark.parametrize("room", [KEPT, PLAIN])
async def test_broadcast_from_leaves_out_one_connection_alone(room: str) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with (
        serving(one, two),
        client(one, "ann") as ann,
        client(two, "ann") as too,
        client(two, "bob") as bob,
    ):
        for peer in (ann, too, bob):
            await peer.join(room)
        ann.send("BROADCAST", room, "say_to_others", {"text": "hi"})
        await told()
        assert said(ann) == []
        assert said(too) == said(bob) == ["hi"]


@pytest.mark.parametrize("has_other", [False, True])
async def test_what_a_user_has_said_is_replayed_only_if_another_connection_got_it(
    has_other: bool,
) -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "ann") as too:
        answer = acknowledged(await ann.join(KEPT))
        if has_other:
            await too.join(KEPT)
        ann.send("BROADCAST", KEPT, "say_to_others", {"text": "hi"})
        await told()
        assert answer.epoch is not None
        async with client(two, "ann") as back, client(two, "bob") as bob:
            await back.join(KEPT, since=Position(answer.epoch, 0))
            await bob.join(KEPT, since=Position(answer.epoch, 0))
            await told()
            assert said(back) == (["hi"] if has_other else [])
            assert said(bob) == ["hi"]


async def test_a_broadcast_fails_within_two_seconds_while_the_engine_is_away() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(KEPT)
        await ann.join(PLAIN)
        ann.drain()
        hub.stop()
        await told()
        with anyio.fail_after(2.5):
            with pytest.raises(BackplaneUnavailable):
                await one.channel(SOCKET, KEPT).broadcast("said", {"text": "kept"})
        await one.channel(SOCKET, PLAIN).broadcast("said", {"text": "plain"})
        hub.start()
        await told()
        assert said(ann) == ["plain"]  # none is delivered here alone
        assert ann.closed is None


async def test_a_lost_result_is_asked_for_again_on_the_next_link() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        one.link.lose_results()
        await one.channel(SOCKET, KEPT).broadcast("said", {"text": "hi"})
        assert said(ann) == ["hi"]  # it is delivered here when the call returns
        await told()
        assert said(bob) == ["hi"]


async def test_a_sender_is_told_if_it_is_not_known_what_became_of_a_broadcast() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        one.link.silence()
        one.link._faults.is_cut = True  # no link follows the one whose result is lost
        one.link.lose_results()
        with anyio.fail_after(2.5), pytest.raises(PublishUncertain):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": "hi"})
        assert said(bob) == ["hi"]
        assert said(ann) == []
        one.link.mend()
        await told()
        assert said(ann) == ["hi"]


async def test_a_broadcast_is_delivered_here_even_if_its_push_is_lost() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with serving(one), client(one, "ann") as ann:
        await ann.join(KEPT)
        one.link.silence()  # as half of a connection may be lost
        with anyio.fail_after(2):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": "hi"})
        assert said(ann) == ["hi"]


async def test_what_an_engine_does_twice_is_delivered_once() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(two, "bob") as bob:
        await bob.join(PLAIN)
        one.link._faults.is_cut = True
        one.link.lose_results()
        await one.channel(SOCKET, PLAIN).broadcast("said", {"text": "hi"})
        await told()
        hub.engine._applied.clear()  # as in a restart between its work and the answer
        one.link.mend()
        await told()
        assert said(bob) == ["hi"]


async def test_a_pond_that_does_not_run_refuses_at_once() -> None:
    one = ClusterPond(MemoryHub())
    with anyio.fail_after(0.1), pytest.raises(UsageError, match="Publisher"):
        await one.channel(SOCKET, KEPT).broadcast("said", {})
