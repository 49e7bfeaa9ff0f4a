"""What a node writes: combined, in order, once, and given up in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import UsageError
from pondsocket._cluster.batches import Batches
from pondsocket.backplane import (
    MAX_BYTES,
    MAX_OPS,
    BackplaneUnavailable,
    Emit,
    LinkLost,
    Op,
    PublishUncertain,
    Result,
)

from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


class Engine:
    """It carries out what it is told, or fails as a test asks.

    Attributes:
        calls: The number of each call, and its messages.
        failures: What the next calls raise.
        gate: Calls wait for it, if there is one.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[bytes]]] = []
        self.failures: list[Exception] = []
        self.gate: anyio.Event | None = None

    async def apply(self, seq: int, ops: Sequence[Op]) -> list[Result]:
        self.calls.append((seq, [op.data for op in ops if isinstance(op, Emit)]))
        if self.gate is not None:
            await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        return [*range(len(ops))]


class Setup:
    def __init__(self, max_bytes: int = 10_000_000) -> None:
        self.engine = Engine()
        self.batches = Batches(self.engine, max_bytes=max_bytes)  # type: ignore[arg-type]
        self.results: list[tuple[str, Any]] = []

    def add(self, name: str, **more: float) -> None:
        self.add_data(name, name.encode(), **more)

    def add_data(self, name: str, data: bytes, **more: float) -> None:
        def end(result: Result | Exception) -> None:
            self.results.append((name, result))

        self.batches.add(Emit("topic", data), end, **more)

    def outcomes(self) -> list[tuple[str, Any]]:
        found, self.results = self.results, []
        return [
            (name, type(result).__name__ if isinstance(result, Exception) else result)
            for name, result in found
        ]


@asynccontextmanager
async def running(max_bytes: int = 10_000_000, *, is_up: bool = True) -> AsyncIterator[Setup]:
    setup = Setup(max_bytes)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(setup.batches.run)
        await anyio.sleep(0.01)
        if is_up:
            setup.batches.resume()
        yield setup
        tasks.cancel_scope.cancel()


async def test_what_comes_while_a_batch_is_in_flight_makes_the_next_one() -> None:
    async with running() as setup:
        setup.engine.gate = anyio.Event()
        setup.add("a")
        await anyio.sleep(0.1)
        setup.add("b")
        setup.add("c")
        setup.engine.gate.set()
        await anyio.sleep(0.1)
        assert setup.engine.calls == [(1, [b"a"]), (2, [b"b", b"c"])]
        assert setup.outcomes() == [("a", 0), ("b", 0), ("c", 1)]


async def test_a_batch_has_bounds_unless_it_is_one_operation() -> None:
    async with running(is_up=False) as setup:
        for number in range(MAX_OPS + 1):
            setup.add(str(number))
        setup.add_data("large", bytes(MAX_BYTES))
        setup.add("last")
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert [len(data) for _, data in setup.engine.calls] == [MAX_OPS, 1, 1, 1]


async def test_a_lost_result_is_asked_for_with_the_same_number_on_the_next_link() -> None:
    async with running() as setup:
        setup.engine.failures = [LinkLost(), BackplaneUnavailable()]
        setup.add("a")
        await anyio.sleep(0.1)
        setup.add("b")
        setup.batches.pause()
        setup.batches.resume()
        await anyio.sleep(0.1)
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert setup.engine.calls == [(1, [b"a"]), (1, [b"a"]), (1, [b"a"]), (2, [b"b"])]
        assert setup.outcomes() == [("a", 0), ("b", 0)]


async def test_what_nothing_keeps_is_not_sent_again_where_the_engine_may_have_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as setup:
        setup.engine.failures = [PublishUncertain()]
        setup.engine.gate = anyio.Event()
        setup.add("a")
        await anyio.sleep(0.1)
        setup.add("b")
        setup.engine.gate.set()
        await anyio.sleep(0.1)
        assert not setup.batches.is_up
        assert setup.outcomes() == [("a", "PublishUncertain")]
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert setup.outcomes() == [("b", 0)]
        assert setup.engine.calls == [(1, [b"a"]), (2, [b"b"])]
        assert "1 messages did not reach the other servers" in caplog.text


async def test_a_failure_of_an_old_link_does_not_stop_the_next_one() -> None:
    async with running() as setup:
        setup.engine.failures = [LinkLost()]
        setup.engine.gate = anyio.Event()
        setup.add("a")
        await anyio.sleep(0.1)
        setup.batches.pause()
        setup.batches.resume()  # before the call of the old link has failed
        setup.engine.gate.set()
        await anyio.sleep(0.1)
        assert setup.outcomes() == [("a", 0)]


async def test_what_waits_for_too_long_is_given_up_and_said() -> None:
    async with running(is_up=False) as setup:
        setup.add("short", seconds=1)
        setup.add("long", seconds=10)
        setup.add("endless")
        await anyio.sleep(2)
        setup.batches.expire()
        assert setup.outcomes() == [("short", "BackplaneUnavailable")]
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert setup.engine.calls == [(1, [b"long", b"endless"])]


async def test_what_was_in_flight_is_uncertain_and_not_sent_again() -> None:
    async with running() as setup:
        setup.engine.failures = [LinkLost()]
        setup.add("a", seconds=1)
        await anyio.sleep(2)
        setup.batches.expire()
        assert setup.outcomes() == [("a", "PublishUncertain")]
        setup.add("b")
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert setup.engine.calls == [(1, [b"a"]), (2, [b"b"])]


async def test_a_batch_with_what_must_be_carried_out_is_sent_again_whole() -> None:
    async with running() as setup:
        setup.engine.failures = [LinkLost()]
        setup.add("a", seconds=1)
        setup.add("endless")
        await anyio.sleep(2)
        setup.batches.expire()
        setup.batches.resume()
        await anyio.sleep(0.1)
        assert setup.engine.calls == [(1, [b"a", b"endless"])] * 2
        assert setup.outcomes() == [("a", "PublishUncertain"), ("endless", 1)]


async def test_the_queue_has_a_bound_for_all_that_can_fail() -> None:
    async with running(max_bytes=1_000, is_up=False) as setup:
        setup.add_data("a", bytes(700), seconds=1)
        with pytest.raises(BackplaneUnavailable):
            setup.add_data("b", bytes(700), seconds=1)
        setup.add_data("endless", bytes(700))
        await anyio.sleep(2)
        setup.batches.expire()
        setup.outcomes()
        setup.batches.resume()
        await anyio.sleep(0.1)
        setup.add_data("c", bytes(700), seconds=1)  # there is room again


async def test_settle_waits_for_all_before_it_but_not_for_ever() -> None:
    async with running() as setup:
        await setup.batches.settle(seconds=1)  # nothing waits
        setup.add("a")
        await setup.batches.settle(seconds=1)
        assert setup.outcomes() == [("a", 0)]
        setup.engine.gate = anyio.Event()
        setup.add("b")
        begun = anyio.current_time()

        async def expire() -> None:
            while True:
                await anyio.sleep(0.25)
                setup.batches.expire()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expire)
            with pytest.raises(BackplaneUnavailable):
                await setup.batches.settle(seconds=1)
            tasks.cancel_scope.cancel()
        assert anyio.current_time() - begun <= 1.25
        setup.batches.pause()
        with pytest.raises(BackplaneUnavailable):
            await setup.batches.settle(seconds=1)


async def test_all_that_waits_ends_with_the_node() -> None:
    async with running() as setup:
        setup.engine.gate = anyio.Event()
        setup.add("in flight")
        await anyio.sleep(0.1)
        setup.add("queued", seconds=5)
        setup.add("endless")
    assert setup.outcomes() == [
        ("in flight", "PublishUncertain"),
        ("queued", "BackplaneUnavailable"),
        ("endless", "BackplaneUnavailable"),
    ]
    with pytest.raises(BackplaneUnavailable):
        setup.add("late", seconds=1)
    setup.add("late")
    assert setup.outcomes() == [("late", "BackplaneUnavailable")]


async def test_a_result_that_cannot_be_taken_keeps_no_other_from_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Result | Exception) -> None:
        raise ValueError("no")

    async with running() as setup:
        setup.batches.add(Emit("topic", b"a"), fail)
        setup.add("b")
        await anyio.sleep(0.1)
        assert setup.outcomes() == [("b", 1)]
        assert "A result was not taken" in caplog.text


async def test_messages_that_nothing_keeps_are_counted_when_they_are_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(is_up=False) as setup:
        setup.add("a", seconds=1)
        setup.add("b", seconds=1)
        await anyio.sleep(2)
        setup.batches.expire()
        setup.batches.count_lost()
        setup.batches.resume()
        assert "3 messages did not reach the other servers" in caplog.text


async def test_two_tasks_may_not_write_the_same_batches() -> None:
    async with running() as setup:
        with pytest.raises(UsageError):
            await setup.batches.run()


def test_names_of_errors_are_those_of_the_interface() -> None:
    assert {PublishUncertain().code, BackplaneUnavailable().code} == {503}
