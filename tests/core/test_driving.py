"""Work that is driven by hand: what it returns and raises, and what it is told when it waits."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket._runtime.driving import drive, lent_task
from pondsocket._runtime.loop import running_asyncio


async def test_work_that_does_not_wait_makes_no_call() -> None:
    called: list[str] = []

    async def work() -> str:
        called.append("work")
        return "done"

    assert await drive(work(), lambda: called.append("waits")) == "done"
    assert called == ["work"]


async def test_work_that_waits_says_so_once() -> None:
    called: list[str] = []

    async def work() -> str:
        for _ in range(3):
            called.append("work")
            await anyio.lowlevel.checkpoint()
        return "done"

    assert await drive(work(), lambda: called.append("waits")) == "done"
    assert called == ["work", "waits", "work", "work"]


async def test_what_work_raises_comes_out() -> None:
    async def at_once() -> None:
        raise LookupError

    async def later() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError

    with pytest.raises(LookupError):
        await drive(at_once())
    with pytest.raises(LookupError):
        await drive(later())


async def test_work_may_deal_with_a_cancellation() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                seen.append("cleaned up")

    with anyio.CancelScope() as scope:
        await drive(work(), scope.cancel)

    assert scope.cancelled_caught
    assert seen == ["cleaned up"]


async def sleep_until_closed(seen: list[str]) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        seen.append("closed")


def begin_and_close(work: Coroutine[Any, Any, None]) -> None:
    work.send(None)
    work.close()


async def test_abandoned_work_is_closed() -> None:
    seen: list[str] = []

    async def abandoned() -> None:
        await drive(sleep_until_closed(seen))

    begin_and_close(abandoned())

    assert seen == ["closed"]


async def test_all_of_work_runs_in_the_context_that_it_is_given() -> None:
    where: ContextVar[str] = ContextVar("where", default="outside")
    context = copy_context()
    context.run(where.set, "inside")
    seen: list[str] = []

    async def work() -> None:
        for _ in range(2):
            seen.append(where.get())
            await anyio.lowlevel.checkpoint()
        where.set("work")

    await drive(work(), lambda: seen.append(where.get()), context=context)

    assert seen == ["inside", "outside", "inside"]
    assert where.get() == "outside"
    assert context[where] == "work"


async def test_work_that_was_begun_goes_on_where_it_waits() -> None:
    seen: list[str] = []

    async def work() -> str:
        for name in "12":
            try:
                with anyio.CancelScope() as scope:
                    if name == "2":
                        scope.cancel()
                    await anyio.lowlevel.checkpoint()
                    seen.append(name)
            finally:
                seen.append("left")
        return "done"

    begun = work()
    assert await drive(begun, waited_for=begun.send(None)) == "done"
    assert seen == ["1", "left", "left"]


async def test_work_that_was_begun_and_is_abandoned_is_closed() -> None:
    seen: list[str] = []

    async def abandoned() -> None:
        begun = sleep_until_closed(seen)
        await drive(begun, waited_for=begun.send(None))

    begin_and_close(abandoned())

    assert seen == ["closed"]


async def test_a_task_is_lent_on_asyncio_alone() -> None:
    where: ContextVar[str] = ContextVar("where", default="outside")
    where.set("inside")
    lent = lent_task()
    loop = running_asyncio()
    if loop is None:
        assert lent is None
        return
    assert lent is not None
    with pytest.raises(RuntimeError):  # it runs
        lent.enter()
    found: list[object] = []

    def callback() -> None:
        found.append(asyncio.current_task())
        lent.enter()
        found.extend((asyncio.current_task(), lent.run(where.get)))
        lent.leave()
        found.append(asyncio.current_task())

    loop.call_soon(callback, context=Context())
    await anyio.lowlevel.checkpoint()
    assert found == [None, asyncio.current_task(), "inside", None]
