"""The life of a node: its first link, outages, its end, and what is said of a wrong set-up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from pondsocket import CloseCode, PondSocket, Publisher, UsageError
from pondsocket.backplane import BackplaneError, Listener
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.testing import ConnectionRefused

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


async def refusal_of(pond: PondSocket) -> tuple[int, int | None]:
    with pytest.raises(ConnectionRefused) as refused:
        async with client(pond, "ann"):
            pass
    refusal = refused.value.refusal
    return refusal.status, refusal.retry_after


async def test_a_pond_is_ready_at_its_first_link_and_stays_so_in_an_outage() -> None:
    hub = MemoryHub()
    hub.stop()
    one, begun = ClusterPond(hub), anyio.current_time()
    async with one:
        # The engine may be down: the server starts all the same.
        assert anyio.current_time() - begun <= 2.5
        assert not one.is_ready
        assert await refusal_of(one) == (503, 1)
        hub.start()
        await told()
        assert one.is_ready
        async with client(one, "ann") as ann:
            hub.stop()
            await anyio.sleep(10)
            assert one.is_ready
            assert ann.closed is None
    assert not one.is_ready


async def test_a_pond_that_is_served_without_its_lifespan_says_once_what_to_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = ClusterPond(MemoryHub())
    for _ in range(3):
        assert (await refusal_of(one))[0] == 503
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "lifespan=pond.lifespan" in errors[0]
    assert "async with pond" in errors[0]


async def test_two_ponds_need_two_backplanes() -> None:
    hub = MemoryHub()
    backplane = hub.backplane()
    one, two = PondSocket(backplane=backplane), PondSocket(backplane=backplane)
    async with one:
        with pytest.raises(UsageError, match="backplane of its own"):
            async with two:
                pass
        assert one.is_ready
    async with two:  # one after the other is no harm
        assert two.is_ready


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("redis://:secret@127.0.0.1", "of type str"),
        (MemoryHub(), "of type MemoryHub"),
        (MemoryBackplane, "the class MemoryBackplane"),
    ],
    ids=["url", "hub", "class"],
)
def test_what_is_no_backplane_is_refused_where_it_is_given(wrong: Any, named: str) -> None:
    with pytest.raises(UsageError, match=f"RedisBackplane.*; not {named}") as refused:
        PondSocket(backplane=wrong)
    assert "secret" not in str(refused.value)
    if not isinstance(wrong, str):  # a publisher takes a URL
        with pytest.raises(UsageError, match=named):
            Publisher(wrong)


class WrongPassword(MemoryBackplane):
    async def run(self, listener: Listener, node: str, *, holds: bool = True) -> None:
        await anyio.sleep(0.5)
        raise BackplaneError("The password is wrong.")


async def test_an_engine_that_cannot_be_used_ends_the_start() -> None:
    pond = PondSocket(backplane=WrongPassword(MemoryHub()))
    with anyio.fail_after(1), pytest.raises(BackplaneError, match="The password is wrong"):
        async with pond:
            pytest.fail("It has started.")


class Broken(MemoryBackplane):
    async def run(self, listener: Listener, node: str, *, holds: bool = True) -> None:
        listener.up()
        await anyio.sleep(0.5)
        raise ValueError("a fault of the backplane")


async def test_a_backplane_that_fails_is_logged_at_once_and_raised_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = MemoryHub()
    pond = PondSocket(backplane=Broken(hub))

    async def serve() -> None:
        async with pond:
            await anyio.sleep(1)
            assert not pond.is_ready
            assert "has no part in the cluster any more" in caplog.text

    with pytest.raises(BaseExceptionGroup):
        await serve()
    assert "has no part in the cluster any more" in caplog.text


async def test_ponds_may_be_nested_in_any_order_and_entered_twice() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with one, two, one, client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(PLAIN)
        await bob.join(PLAIN)
        ann.send("BROADCAST", PLAIN, "say", {"text": 1})
        await told()
        assert said(bob) == [1]
    async with two, one, client(one, "ann") as ann, client(two, "bob") as bob:
        await ann.join(KEPT)
        await bob.join(KEPT)
        ann.send("BROADCAST", KEPT, "say", {"text": 2})
        await told()
        assert said(bob) == [2]
        assert await one.channel(SOCKET, KEPT).user_count() == 2


async def test_a_pond_that_closes_tells_its_leaves_within_a_second() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(two), client(two, "bob") as bob:
        await bob.join(PLAIN)
        async with anyio.create_task_group() as tasks:

            async def serve(task_status: anyio.abc.TaskStatus[object]) -> None:
                async with one, client(one, "ann") as ann:
                    await ann.join(PLAIN, {"show": 1})
                    await told()
                    task_status.started()
                    await ended.wait()
                    await one.drain(0.5)
                    assert ann.closed is CloseCode.RESTART
                    assert "GOODBYE" in [each.event for each in ann.drain()]

            ended = anyio.Event()
            await tasks.start(serve)
            bob.drain()
            begun = anyio.current_time()
            ended.set()
        assert anyio.current_time() - begun <= 1.0
        await anyio.sleep(0.1)
        assert [each.event for each in bob.drain()] == ["LEAVE"]
        assert one.left == [("ann", "connection_closed")]
        assert bob.closed is None
        assert hub.engine.dead(anyio.current_time() + 100) == [two._node.lease]  # type: ignore[union-attr]
        bob.send("BROADCAST", PLAIN, "say", {"text": 1})
        await told()
        assert said(bob) == [1]


async def test_a_pond_ends_soon_although_the_engine_is_away() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    async with one:
        async with client(one, "ann") as ann:
            await ann.join(PLAIN)
            hub.stop()
            await told()
        begun = anyio.current_time()
    assert anyio.current_time() - begun <= 3


class DeafBackplane(MemoryBackplane):
    """An engine that answers no `unsubscribe`."""

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        await anyio.sleep(100)


async def test_an_engine_that_does_not_answer_delays_no_limit() -> None:
    hub = MemoryHub()
    one = ClusterPond(hub)
    deaf = DeafBackplane(hub)
    hub._nodes.append(deaf)
    one._node.backplane = one._node.batches._backplane = deaf  # type: ignore[union-attr]
    async with serving(one):
        async with client(one, "ann") as ann:
            await ann.join(PLAIN)
        await anyio.sleep(2)  # the topic is idle
        hub.stop()
        await told()
        with anyio.fail_after(2.5), pytest.raises(Exception, match="cannot be reached"):
            await one.channel(SOCKET, KEPT).broadcast("said", {})


async def test_a_topic_is_heard_again_after_it_was_idle() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two), client(one, "ann") as ann:
        await ann.join(KEPT)
        for number in range(3):
            async with client(two, "bob") as bob:
                at = acknowledged(await bob.join(KEPT))
                assert at.offset == 2 * number
                ann.send("BROADCAST", KEPT, "say", {"text": number})
                await told()
                assert said(bob) == [number]
            await anyio.sleep([0.5, 3][number % 2])
            ann.send("BROADCAST", KEPT, "say", {"text": "alone"})
            await told()
        assert len(two.link._topics) == 5
        await anyio.sleep(3)
        assert len(two.link._topics) == 4  # commands, pushes, everyone, its inbox
