"""The tasks of one connection: as anyio's task groups, but made when the first task is started."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Self, TypeAlias

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from pondsocket._runtime.groups import LateGroup, SideGroup, SideTasks, within
from pondsocket._runtime.loop import Loop

from tests.live_objects import live_objects

Kind: TypeAlias = Literal["group", "side tasks"]

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


def entered() -> Loop:
    loop = Loop()
    loop.enter()
    return loop


@pytest.fixture(params=["group", "side tasks"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


def new(kind: Kind) -> SideGroup:
    loop = entered()
    return loop.new_group() if kind == "group" else loop.new_side_tasks()


class Log:
    """What has happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def sleeper(self, name: str) -> None:
        self.lines.append(f"{name} begins")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.lines.append(f"{name} is cancelled")
            raise

    async def careful(self) -> None:
        """End with a wait that no cancellation may disturb."""
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                self.lines.append("cleaned up")


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Check that all tasks that were started meanwhile have ended."""
    before = {task.id for task in anyio.get_running_tasks()}
    yield
    assert {task.id for task in anyio.get_running_tasks()} <= before


async def fail() -> None:
    raise ValueError("failed")


async def failures_of(run: Callable[[], Awaitable[None]]) -> list[str]:
    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        await run()
    return [str(error) for error in caught.value.exceptions]


async def test_the_block_waits_for_its_tasks(kind: Kind) -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        ended = True

    async with new(kind) as tasks:
        tasks.start_soon(work)
    assert ended


async def test_an_empty_block_ends(kind: Kind) -> None:
    with anyio.fail_after(5):
        async with new(kind):
            pass


async def test_tasks_started_by_tasks_are_waited_for(kind: Kind) -> None:
    log = Log()
    async with new(kind) as tasks:

        async def first() -> None:
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(second)

        async def second() -> None:
            await anyio.lowlevel.checkpoint()
            log.lines.append("second")

        tasks.start_soon(first)
    assert log.lines == ["second"]


async def test_a_failing_block_cancels_its_tasks(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(log.sleeper, "task")
            await wait_all_tasks_blocked()
            await fail()

    async with nothing_left():
        assert await failures_of(run) == ["failed"]
    assert log.lines == ["task begins", "task is cancelled"]


async def test_a_failing_block_without_tasks_fails_likewise(kind: Kind) -> None:
    async def run() -> None:
        async with new(kind):
            await fail()

    assert await failures_of(run) == ["failed"]


async def test_a_failing_task_cancels_the_others_and_the_block(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(log.sleeper, "task")
            await wait_all_tasks_blocked()
            tasks.start_soon(fail)
            await log.sleeper("block")

    async with nothing_left():
        assert await failures_of(run) == ["failed"]
        assert sorted(log.lines[2:]) == ["block is cancelled", "task is cancelled"]
        await anyio.lowlevel.checkpoint()  # this task is not cancelled any more


async def test_a_task_that_fails_while_the_block_waits_cancels_the_others(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(log.sleeper, "task")
            tasks.start_soon(fail)

    assert await failures_of(run) == ["failed"]
    await anyio.lowlevel.checkpoint()


async def test_a_scope_around_it_cancels_all_of_it(kind: Kind) -> None:
    log = Log()
    async with nothing_left():
        with anyio.CancelScope() as around:
            async with new(kind) as tasks:
                tasks.start_soon(log.sleeper, "task")
                tasks.start_soon(log.careful)
                await wait_all_tasks_blocked()
                around.cancel()
                await log.sleeper("block")
        assert around.cancelled_caught
        lines = sorted(log.lines)
        assert lines == [
            "block begins",
            "block is cancelled",
            "cleaned up",
            "task begins",
            "task is cancelled",
        ]
        await anyio.lowlevel.checkpoint()


async def test_a_scope_around_it_cancels_the_wait_for_tasks(kind: Kind) -> None:
    log = Log()
    async with nothing_left(), anyio.create_task_group() as others:
        with anyio.CancelScope() as around:

            async def cancel() -> None:
                await wait_all_tasks_blocked()
                around.cancel()

            others.start_soon(cancel)
            async with new(kind) as tasks:
                tasks.start_soon(log.sleeper, "task")
                tasks.start_soon(log.careful)
        assert around.cancelled_caught
        assert sorted(log.lines) == ["cleaned up", "task begins", "task is cancelled"]
        await anyio.lowlevel.checkpoint()


async def test_a_scope_that_is_cancelled_already_cancels_it(kind: Kind) -> None:
    with anyio.CancelScope() as around:
        around.cancel()
        async with new(kind) as tasks:
            tasks.start_soon(anyio.sleep_forever)
            await anyio.sleep_forever()
    assert around.cancelled_caught


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again(kind: Kind) -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        for _ in range(3):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                swallowed += 1
        await anyio.sleep_forever()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(stubborn)
            await wait_all_tasks_blocked()
            await fail()

    assert await failures_of(run) == ["failed"]
    assert swallowed == 3


async def test_a_task_that_is_started_after_the_cancellation_is_cancelled_too(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:

            async def last_wish() -> None:
                try:
                    await anyio.sleep_forever()
                finally:
                    tasks.start_soon(log.sleeper, "task")

            tasks.start_soon(last_wish)
            await wait_all_tasks_blocked()
            await fail()

    async with nothing_left():
        assert await failures_of(run) == ["failed"]
    assert log.lines == ["task begins", "task is cancelled"]


async def test_scopes_of_the_block_end_as_they_began(kind: Kind) -> None:
    """The first task may be started by a handler, inside the handler's own scopes."""
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            with anyio.CancelScope() as inner:
                tasks.start_soon(log.sleeper, "task")
                await wait_all_tasks_blocked()
                inner.cancel()
                await log.sleeper("block")
            assert inner.cancelled_caught
            assert log.lines == ["task begins", "block begins", "block is cancelled"]
            with anyio.move_on_after(0):
                await anyio.sleep_forever()
            await fail()

    assert await failures_of(run) == ["failed"]
    assert log.lines[-1] == "task is cancelled"


async def test_tasks_run_in_a_copy_of_the_context_that_starts_them(kind: Kind) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())
        variable.set("changed")

    async with new(kind) as tasks:
        tasks.start_soon(look)
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        context.run(tasks.start_soon, look)
        await wait_all_tasks_blocked()
        seen.append(variable.get())
    assert sorted(seen) == ["", "", "given"]
    assert context[variable] == "given"


async def test_no_task_is_started_after_the_end(kind: Kind) -> None:
    async with new(kind) as tasks:
        tasks.start_soon(anyio.lowlevel.checkpoint)
    with pytest.raises(RuntimeError):
        tasks.start_soon(anyio.lowlevel.checkpoint)
    async with new(kind) as tasks:
        pass
    with pytest.raises(RuntimeError):
        tasks.start_soon(anyio.lowlevel.checkpoint)


# --- the scope of a group -------------------------------------------------------------------------


@pytest.mark.parametrize("has_task", [False, True])
async def test_the_scope_of_a_group_cancels_the_block_and_the_tasks(has_task: bool) -> None:
    log = Log()
    async with nothing_left(), entered().new_group() as group:
        if has_task:
            group.start_soon(log.sleeper, "task")
            group.start_soon(log.careful)
            await wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        await log.sleeper("block")
    assert group.cancel_scope.cancelled_caught
    assert ("task is cancelled" in log.lines, "cleaned up" in log.lines) == (has_task, has_task)
    await anyio.lowlevel.checkpoint()


async def test_a_deadline_ends_the_tasks_that_the_block_waits_for() -> None:
    log = Log()
    async with entered().new_group() as group:
        group.start_soon(log.sleeper, "task")
        group.cancel_scope.deadline = anyio.current_time()
    assert group.cancel_scope.cancelled_caught


async def test_a_shield_of_the_block_holds_against_its_own_scope() -> None:
    log = Log()
    async with entered().new_group() as group:
        with anyio.CancelScope(shield=True):
            group.start_soon(log.sleeper, "task")
            await wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            await wait_all_tasks_blocked()
            log.lines.append("shielded")
    assert log.lines == ["task begins", "task is cancelled", "shielded"]


async def test_the_tasks_of_a_group_know_the_task_that_waits_for_them() -> None:
    parents: list[int | None] = []

    async def look() -> None:
        parents.append(anyio.get_current_task().parent_id)

    async with entered().new_group() as group:
        group.start_soon(look)
    assert parents == [anyio.get_current_task().id]


# --- asyncio's own cancellations ------------------------------------------------------------------


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def in_task(run: Callable[[], Awaitable[Any]]) -> "asyncio.Task[Any]":
    """Start something in a task of asyncio's own, and wait until that waits."""

    async def body() -> Any:
        return await run()

    task = asyncio.create_task(body())
    for _ in range(5):
        await asyncio.sleep(0)
    return task


@on_asyncio
@pytest.mark.parametrize("where", ["block", "wait"])
async def test_a_server_that_cancels_the_task_ends_all_of_it(kind: Kind, where: str) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(log.sleeper, "task")
            tasks.start_soon(log.careful)
            if where == "block":
                await log.sleeper("block")

    async with nothing_left():
        task = await in_task(run)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert {"task is cancelled", "cleaned up"} <= {*log.lines}


@on_asyncio
@pytest.mark.parametrize("where", ["block", "wait"])
async def test_a_cancellation_is_freed_without_a_collection(where: str) -> None:
    """Its traceback must not refer to a frame that refers to it, and to all in the block."""

    async def run() -> None:
        async with new("side tasks") as tasks:  # anyio's own groups keep it
            tasks.start_soon(anyio.sleep_forever)
            if where == "block":
                await anyio.sleep_forever()

    gc.collect()
    gc.disable()
    try:
        before = len(live_objects(asyncio.CancelledError))
        task = await in_task(run)
        task.cancel()
        await asyncio.wait([task])
        del task
        assert len(live_objects(asyncio.CancelledError)) == before
    finally:
        gc.enable()


@on_asyncio
async def test_a_second_cancellation_leaves_no_task_behind(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            tasks.start_soon(log.careful)
            await anyio.sleep_forever()

    async with nothing_left():
        task = await in_task(run)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        await asyncio.wait([task])
        assert task.cancelled()
    assert log.lines == ["cleaned up"]


@on_asyncio
async def test_a_time_limit_of_asyncio_around_it_ends_all_of_it(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with asyncio.timeout(0.001), new(kind) as tasks:
            tasks.start_soon(log.sleeper, "task")
            await log.sleeper("block")

    async with nothing_left():
        with pytest.raises(TimeoutError):
            await run()
        assert not cancelling()
    assert sorted(log.lines)[1::2] == ["block is cancelled", "task is cancelled"]


@on_asyncio
async def test_a_time_limit_of_asyncio_inside_it_stays_inside(kind: Kind) -> None:
    async with new(kind) as tasks:
        tasks.start_soon(anyio.lowlevel.checkpoint)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anyio.sleep_forever(), 0.001)
        await anyio.lowlevel.checkpoint()


@on_asyncio
async def test_cancelling_one_task_from_outside_cancels_the_others_and_the_block(
    kind: Kind,
) -> None:
    found: list[asyncio.Task[Any] | None] = []

    async def work() -> None:
        found.append(asyncio.current_task())
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with new(kind) as tasks:
            tasks.start_soon(work)
            tasks.start_soon(anyio.sleep_forever)
            await wait_all_tasks_blocked()
            (task,) = found
            assert task is not None
            task.cancel()
            await anyio.sleep_forever()
    assert not cancelling()
    await anyio.lowlevel.checkpoint()


@on_asyncio
async def test_a_cancellation_from_outside_is_kept_beside_that_of_a_failing_task() -> None:
    """Both reach the task in one turn of the loop, as one exception."""

    async def run() -> None:
        async with entered().new_side_tasks() as tasks:
            gone = asyncio.get_running_loop().create_future()

            async def work() -> None:
                found.append(asyncio.current_task())
                await gone

            tasks.start_soon(work)
            await anyio.sleep_forever()

    found: list[asyncio.Task[Any] | None] = []
    task = await in_task(run)
    (inner,) = found
    assert inner is not None
    inner.cancel()
    inner.add_done_callback(lambda _: task.cancel())
    await asyncio.wait([task])
    assert task.cancelled()


@on_asyncio
async def test_a_cancelled_block_waits_without_waking_in_each_turn() -> None:
    done = anyio.Event()

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            await done.wait()

    async def run() -> None:
        with anyio.CancelScope() as around:
            async with entered().new_side_tasks() as tasks:
                assert isinstance(tasks, SideTasks)
                found.append(tasks)
                tasks.start_soon(work)
                around.cancel()
                await anyio.sleep_forever()

    found: list[SideTasks] = []
    task = await in_task(run)
    waiter = found[0]._waiter
    for _ in range(5):
        await asyncio.sleep(0)
    assert waiter is found[0]._waiter is not None
    done.set()
    await task


@on_asyncio
async def test_a_callback_of_the_loop_may_start_a_task(kind: Kind) -> None:
    log = Log()

    async def run() -> None:
        async with new(kind) as tasks:
            asyncio.get_running_loop().call_soon(tasks.start_soon, log.sleeper, "task")
            await wait_all_tasks_blocked()
            assert log.lines == ["task begins"]
            asyncio.get_running_loop().call_soon(tasks.start_soon, fail)
            await anyio.sleep_forever()

    assert await failures_of(run) == ["failed"]
    assert not cancelling()


# --- what they cost -------------------------------------------------------------------------------


@on_asyncio
async def test_nothing_is_made_before_the_first_task() -> None:
    loop = entered()
    async with loop.new_group() as group, loop.new_side_tasks() as tasks:
        assert isinstance(group, LateGroup)
        assert isinstance(tasks, SideTasks)
        assert group._group is None
        assert tasks._running is None
        group.start_soon(anyio.lowlevel.checkpoint)
        tasks.start_soon(anyio.lowlevel.checkpoint)
        assert group._group is not None
        assert tasks._running


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_has_nurseries_from_the_start() -> None:
    loop = entered()
    assert loop.new_group is loop.new_side_tasks is type(anyio.create_task_group())


class WaitingGroup:
    """A group of some later version of anyio, which waits when it begins."""

    cancel_scope: Any = None

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        return self


@on_asyncio
async def test_groups_that_wait_when_they_begin_are_used_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group: Any = WaitingGroup()
    with pytest.raises(RuntimeError, match="waits when it begins"):
        within(group, anyio.CancelScope())
    monkeypatch.setattr(anyio, "create_task_group", WaitingGroup)
    loop = entered()
    made: list[object] = [loop.new_group, loop.new_side_tasks]
    assert made == [WaitingGroup, WaitingGroup]
