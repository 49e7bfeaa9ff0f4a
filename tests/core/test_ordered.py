"""Ordered delivery: what waits for asynchronous outgoing handlers, in order and within bounds."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket._delivery.ordered import OrderedDelivery, PendingFrame
from pondsocket.adapter import Frame

from tests.core.members import settled
from tests.core.ponds import ROOM
from tests.frames import frame_of


def frame(text: str) -> Frame:
    return frame_of(text.encode(), "say")


class Wire:
    """What a delivery ends in; its tasks run in a group of the test."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.tasks = tasks
        self.sent: list[bytes] = []
        self.spawned = 0
        self.missed: list[int | str] = []

    def offer(self, frame: Frame) -> bool:
        self.sent.append(frame.encoded)
        return True

    def send_frame(self, frame: Frame) -> None:
        self.offer(frame)

    def overflow(self) -> None:
        raise AssertionError("it takes everything")

    def dropped(self, frames: int) -> None:
        self.missed.append(frames)

    def caught_up(self) -> None:
        self.missed.append("all told")

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.spawned += 1
        self.tasks.start_soon(work)


async def test_a_delivery_with_nothing_pending_passes_frames_on_at_once() -> None:
    async with anyio.create_task_group() as tasks:
        wire = Wire(tasks)
        assert OrderedDelivery(wire, 100).offer(frame("1"))
        assert wire.sent == [b"1"]
        assert wire.spawned == 0


async def test_nothing_overtakes_a_pending_frame() -> None:
    opened = anyio.Event()

    async def make() -> Frame:
        await opened.wait()
        return frame("1")

    async def withheld() -> None:
        await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        wire = Wire(tasks)
        delivery = OrderedDelivery(wire, 100)
        assert delivery.offer_pending(PendingFrame(make, frame("1")))
        assert delivery.offer(frame("2"))
        assert delivery.offer_pending(PendingFrame(withheld, frame("?")))
        assert delivery.offer(frame("3"))
        await settled()
        assert wire.sent == []
        opened.set()
        await settled()
        assert wire.sent == [b"1", b"2", b"3"]
        assert wire.spawned == 1

        assert delivery.offer(frame("4"))
        assert wire.sent[-1] == b"4"


@asynccontextmanager
async def waiting_delivery(bound: int) -> AsyncIterator[OrderedDelivery]:
    """Yield a delivery whose first frame is taken out, and waits for ever."""
    async with anyio.create_task_group() as tasks:
        delivery = OrderedDelivery(Wire(tasks), bound)
        delivery.offer_pending(PendingFrame(anyio.sleep_forever, frame("1")))
        await settled()
        yield delivery
        tasks.cancel_scope.cancel()


async def test_a_delivery_over_its_bound_says_so() -> None:
    async with waiting_delivery(10_000) as delivery:
        accepted = 0
        while delivery.offer(frame("x")):
            accepted += 1
        assert accepted == 1_024
        assert not delivery.offer_pending(PendingFrame(anyio.sleep_forever, frame("1")))


async def test_the_bound_of_bytes_counts_frames_that_are_ready_and_pending_ones() -> None:
    async with waiting_delivery(100) as delivery:
        assert delivery.offer(frame("x" * 60))
        assert delivery.offer_pending(PendingFrame(anyio.sleep_forever, frame("x" * 40)))
        assert not delivery.offer(frame("x"))
        assert not delivery.offer_pending(PendingFrame(anyio.sleep_forever, frame("x")))


async def test_a_frame_that_is_larger_than_the_bound_passes_alone() -> None:
    async with waiting_delivery(100) as delivery:
        assert delivery.offer(frame("x" * 200))
        assert not delivery.offer(frame("x"))


async def test_a_delivery_may_hold_sixteen_times_its_bound_before_its_task_has_begun() -> None:
    opened = anyio.Event()

    async def make() -> Frame:
        await opened.wait()
        return frame("1")

    async with anyio.create_task_group() as tasks:
        wire = Wire(tasks)
        delivery = OrderedDelivery(wire, 100)
        delivery.offer_pending(PendingFrame(make, frame("1" * 100)))
        assert all(delivery.offer(frame("x" * 100)) for _ in range(15))
        assert not delivery.offer(frame("x"))
        await settled()
        # What is there then is no longer held against it; the next is.
        assert not delivery.offer(frame("x"))
        opened.set()
        await settled()
        assert len(wire.sent) == 16
        opened = anyio.Event()
        delivery.offer_pending(PendingFrame(make, frame("1")))
        await settled()
        assert delivery.offer(frame("x" * 100))
        assert not delivery.offer(frame("x"))
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("key", [None, "x"])
async def test_a_full_delivery_drops_droppable_frames_ready_or_pending(key: str | None) -> None:
    def droppable(text: str) -> Frame:
        made = frame(text)
        made.channel, made.droppable, made.conflate_key = ROOM, True, key
        return made

    opened = anyio.Event()
    made: list[int] = []

    async def make() -> Frame:
        made.append(len(made))
        await opened.wait()
        return frame("made")

    async with anyio.create_task_group() as tasks:
        wire = Wire(tasks)
        delivery = OrderedDelivery(wire, 40)
        delivery.offer_pending(PendingFrame(make, droppable("1")))
        await settled()
        assert delivery.offer(frame("an answer" * 2))
        assert delivery.offer_pending(PendingFrame(make, droppable("2" * 10)))
        assert delivery.offer(droppable("3" * 10))
        assert wire.missed == []
        assert delivery.offer_pending(PendingFrame(make, droppable("4" * 20)))
        assert wire.missed == [2]
        opened.set()
        await settled()
        assert wire.sent == [b"made", b"an answer" * 2, b"made"]
        assert len(made) == 2
        assert wire.missed == [2, "all told"]


async def test_a_caller_that_waits_for_room_leaves_half_of_the_bytes_to_others() -> None:
    async with anyio.create_task_group() as tasks:
        delivery = OrderedDelivery(Wire(tasks), 100)
        assert not delivery.wait_for_room(lambda: None, 1_000)
        delivery.offer_pending(PendingFrame(anyio.sleep_forever, frame("1")))
        await settled()
        delivery.offer(frame("x" * 30))
        assert not delivery.wait_for_room(lambda: None, 20)
        assert delivery.wait_for_room(lambda: None, 21)
        tasks.cancel_scope.cancel()
