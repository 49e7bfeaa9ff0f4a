"""Handlers that wait, end or fail in a task that was lent to the callback that reads."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pondsocket import EventContext

from tests.asgi.lent_talk import ROOMS, say, talking
from tests.asgi.uvicorn_connection import turns


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


# --- handlers that wait ---------------------------------------------------------------------------


async def test_a_handler_that_waits_stays_in_its_task_and_another_task_reads() -> None:
    go_on = asyncio.Event()
    found: list[Any] = []

    async def wait(ctx: EventContext) -> None:
        found.append(asyncio.current_task())
        await go_on.wait()
        found.append(asyncio.current_task())
        await ctx.reply("reply", {"text": "waited"})

    async with talking(wait=wait) as talk:
        assert await talk.read(say("wait"), then=lambda: len(found)) == 1
        await turns()
        room = ROOMS[1]
        for text in ("a", "b"):
            await talk.read(say("echo", room, text=text))
            await turns()
        assert await talk.read(say("echo", room, text="c")) == ["a", "b", "c"]  # lent again
        go_on.set()
        await turns()
        assert talk.replies == ["a", "b", "c", "waited"]
        assert found[0] is found[1]
        assert await talk.is_lent()


async def test_texts_behind_a_handler_that_waits_keep_their_order() -> None:
    go_on = asyncio.Event()

    async def wait(ctx: EventContext) -> None:
        await go_on.wait()
        await ctx.reply("reply", {"text": "waited"})

    async with talking(wait=wait) as talk:
        # Also those that come in before the task has a turn.
        others = say("echo", text="a"), say("echo", ROOMS[1], text="b")
        assert await talk.read(say("wait"), *others) == []
        await turns()
        assert talk.replies == ["b"]
        go_on.set()
        await turns()
        assert talk.replies == ["b", "waited", "a"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_text_that_comes_in_while_a_handler_runs_is_handled_behind_it(waits: bool) -> None:
    async def nested(ctx: EventContext) -> None:
        talk.feed(say("echo", ROOMS[1], text="other"))
        if waits:
            await asyncio.sleep(0)
        await ctx.reply("reply", {"text": "nested"})

    async with talking(nested=nested) as talk:
        assert await talk.is_lent()
        await talk.read(say("nested"))
        await turns()
        assert sorted(talk.replies[1:]) == ["nested", "other"]
        assert await talk.is_lent_again()


async def test_several_handlers_may_wait_for_one_future() -> None:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(ctx: EventContext) -> None:
        await ctx.reply("reply", {"text": await shared})

    async with talking(wait=wait) as one, talking(wait=wait) as other:
        done = asyncio.get_running_loop().create_future()

        def callback() -> None:
            one.feed(say("wait"))
            other.feed(say("wait"))
            done.set_result(None)

        asyncio.get_running_loop().call_soon(callback)
        await done
        await turns()
        shared.set_result("all")
        await turns()
        assert one.replies == other.replies == ["all"]
        assert await one.is_lent_again()


async def _task_group(log: list[str]) -> None:
    async def child(number: int) -> None:
        await asyncio.sleep(0)
        log.append(f"child {number}")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(child(1))
        tasks.create_task(child(2))


async def _failing_task_group(log: list[str]) -> None:
    async def child() -> None:
        raise LookupError

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child())
            await asyncio.Event().wait()
    except* LookupError:
        log.append("failed")


async def _timeout(log: list[str], seconds: float = 0.001) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        log.append("timed out")


async def _past_timeout(log: list[str]) -> None:
    await _timeout(log, -1)


async def _wait_for(log: list[str]) -> None:
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)
    except TimeoutError:
        log.append("timed out")


async def _scope(log: list[str], seconds: float = 0.001) -> None:
    with anyio.move_on_after(seconds) as scope:
        await anyio.sleep_forever()
    log.append(f"moved on {scope.cancelled_caught}")


async def _past_scope(log: list[str]) -> None:
    await _scope(log, 0)


async def _scope_in_a_group(log: list[str]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_scope, log)
        tasks.start_soon(anyio.sleep_forever)
        await _scope(log)
        tasks.cancel_scope.cancel()


async def _thread(log: list[str]) -> None:
    log.append(await anyio.to_thread.run_sync(lambda: "thread"))


async def _failing_wait(log: list[str]) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await asyncio.ensure_future(fails())
    log.append("raised")


@pytest.mark.parametrize(
    "work",
    [
        _task_group,
        _failing_task_group,
        _timeout,
        _past_timeout,
        _wait_for,
        _scope,
        _past_scope,
        _scope_in_a_group,
        _thread,
        _failing_wait,
    ],
)
@pytest.mark.parametrize("waits_before", [False, True])
async def test_what_belongs_to_a_task_works_in_a_handler(
    work: Callable[[list[str]], Awaitable[None]], waits_before: bool
) -> None:
    log: list[str] = []

    async def handler(ctx: EventContext) -> None:
        if waits_before:
            await asyncio.sleep(0)
        cancelling = asyncio.current_task().cancelling()  # type: ignore[union-attr]
        await work(log)
        assert asyncio.current_task().cancelling() == cancelling  # type: ignore[union-attr]
        done.set()

    done = asyncio.Event()
    expected: list[str] = []
    await work(expected)
    assert expected
    async with talking(work=handler) as talk:
        assert await talk.is_lent()
        await talk.read(say("work"), say("echo", ROOMS[1], text="beside"))
        await done.wait()
        assert log == expected
        assert "beside" in talk.replies
        assert await talk.is_lent_again()


# --- cancellation, the end, and failures ----------------------------------------------------------


async def test_a_task_that_is_cancelled_before_it_goes_on_cancels_what_its_handler_waits_for() -> (
    None
):
    log: list[str] = []
    inner: list[asyncio.Task[Any]] = []

    async def wait(_ctx: EventContext) -> None:
        inner.append(asyncio.ensure_future(asyncio.Event().wait()))
        try:
            await inner[0]
        except asyncio.CancelledError as error:
            log.append(f"cancelled {error.args}")
            raise

    async with talking(wait=wait) as talk:
        assert await talk.is_lent()
        [task] = talk.tasks
        await talk.read(say("wait"), then=lambda: task.cancel("enough"))
        await turns(20)
        assert log == ["cancelled ('enough',)"]
        assert inner[0].cancelled()
        assert task.cancelled() or task.done()
        assert not talk.tasks


async def test_a_task_that_is_cancelled_is_not_lent() -> None:
    async with talking() as talk:
        assert await talk.is_lent()
        [task] = talk.tasks

        def cancel_and_read() -> list[str]:
            task.cancel()
            talk.feed(say("echo", text="late"))
            return talk.replies

        assert await talk.read(then=cancel_and_read) == ["lent?"]
        await turns(20)
        assert talk.replies == ["lent?"]
        assert not talk.tasks


@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_may_cancel_its_own_task(waits: bool) -> None:
    log: list[str] = []

    async def cancel(_ctx: EventContext) -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        log.append("on")
        if waits:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

    async with talking(cancel=cancel) as talk:
        assert await talk.is_lent()
        await talk.read(say("cancel"))
        await turns(20)
        assert log == ["on", "cancelled"][: 1 + waits]
        assert not talk.tasks


@pytest.mark.parametrize("is_lent", [False, True])
async def test_a_cancellation_that_is_taken_back_before_a_wait_is_none(is_lent: bool) -> None:
    """As for any task, since Python 3.13; before it, `uncancel` prevents no cancellation."""

    async def cancel(ctx: EventContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.uncancel()
        await ctx.reply("reply", {"text": "on"})

    async with talking(cancel=cancel) as talk:
        await talk.read(say("cancel") if is_lent else say("cancel") + say("nothing"))
        await turns(20)
        assert bool(talk.tasks) is (sys.version_info >= (3, 13))
        if talk.tasks:
            assert await talk.is_lent()


async def test_a_handler_that_takes_its_cancellation_back_is_not_called_again() -> None:
    log: list[str] = []

    async def cancel(ctx: EventContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        log.append("once")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.uncancel()
        await ctx.reply("reply", {"text": "on"})

    async with talking(cancel=cancel) as talk:
        assert await talk.is_lent()
        await talk.read(say("cancel"), say("echo", text="behind"))
        await turns()
        assert log == ["once"]
        assert talk.replies == ["lent?", "on", "behind"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_may_close_its_connection(waits: bool) -> None:
    log: list[str] = []
    go_on = asyncio.Event()

    async def close(ctx: EventContext) -> None:
        ctx.connection.close()
        log.append("closed")
        if waits:
            await go_on.wait()
            log.append("finished")

    async with talking(close=close) as talk:
        assert await talk.is_lent()
        behind = say("echo", text="behind"), say("close", ROOMS[1])
        assert await talk.read(say("close"), *behind) == ["lent?"]
        await turns(20)
        assert talk.close_code is not None
        assert log == ["closed"]
        go_on.set()
        await turns(20)
        assert log == ["closed", "finished"][: 1 + waits]
        assert not [each for each in talk.heard if each["event"] == "reply"][1:]


async def test_a_connection_that_is_closed_before_the_task_goes_on_leaves_the_handler() -> None:
    log: list[str] = []
    go_on = asyncio.Event()
    handles: list[Any] = []

    async def wait(ctx: EventContext) -> None:
        handles.append(ctx.connection)
        try:
            await go_on.wait()
        except BaseException:
            log.append("cancelled")
            raise
        log.append("finished")

    async with talking(wait=wait) as talk:
        assert await talk.is_lent()
        await talk.read(say("wait"), then=lambda: handles[0].close())
        await turns(20)
        go_on.set()
        await turns(20)
        assert log == ["finished"]


async def test_a_connection_that_is_lost_before_the_task_goes_on_leaves_the_handler() -> None:
    log: list[str] = []
    go_on = asyncio.Event()

    async def wait(_ctx: EventContext) -> None:
        await go_on.wait()
        log.append("finished")

    async with talking(wait=wait) as talk:
        assert await talk.is_lent()
        await talk.read(say("wait"), then=lambda: talk.transport.lose(ConnectionResetError()))
        await turns(20)
        assert log == []
        go_on.set()
        await turns(20)
        assert log == ["finished"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_that_fails_is_answered(
    waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_ctx: EventContext) -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("secret")

    async with talking(fails=fails) as talk:
        assert await talk.is_lent()
        await talk.read(say("fails"))
        await turns()
        assert talk.heard[-1]["event"] == "INTERNAL_SERVER_ERROR"
        assert "secret" in caplog.text
        assert await talk.is_lent_again()


@pytest.mark.parametrize("error", [LookupError, SystemExit, BaseExceptionGroup("", [Exception()])])
async def test_what_fails_outside_of_handlers_closes_the_connection(
    error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing: list[bool] = []

    async with talking() as talk:
        assert await talk.is_lent()
        reading = talk.protocol._received.take_now.__self__  # type: ignore[union-attr]

        def fail(_data: Any) -> Any:
            failing.append(True)
            raise error

        reading.inbound._decode = fail
        assert await talk.read(say("nothing"), then=lambda: list(failing)) == [True]
        await turns(20)
        assert talk.close_code == 1011
        assert failing == [True]
        assert "A connection failed" in caplog.text
        assert not talk.tasks
