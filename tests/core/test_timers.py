"""Timers that wait in the task of a host, and move on to another host when that one ends."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from pondsocket._runtime.tasks import Work
from pondsocket._runtime.timers import Spawn, Timers

from tests.core.members import settled


class Hosts:
    """Task groups that can host the timers; the first one is asked first."""

    def __init__(self) -> None:
        self.groups: list[anyio.abc.TaskGroup] = []
        self.asked = 0

    def find(self) -> Spawn | None:
        self.asked += 1
        return self.groups[0].start_soon if self.groups else None


class Done(list[str]):
    """A list of the work that was done, and work that appends to it."""

    def work(self, name: str) -> Work:
        async def work() -> None:
            await anyio.lowlevel.checkpoint()
            self.append(name)

        return work


def make() -> tuple[Timers, Hosts, Done]:
    hosts = Hosts()
    return Timers(hosts.find), hosts, Done()


@asynccontextmanager
async def ending_host(hosts: Hosts) -> AsyncIterator[None]:
    """Yield the only host, which ends with the block."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            hosts.groups.append(tasks)
            yield
            hosts.groups.clear()
            tasks.cancel_scope.cancel()


async def test_work_is_done_in_the_order_of_its_times() -> None:
    timers, hosts, done = make()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            hosts.groups.append(tasks)
            for name, seconds in (("last", 0.03), ("first", 0.01), ("now", 0.0), ("mid", 0.02)):
                assert timers.after(seconds, done.work(name))
    assert done == ["now", "first", "mid", "last"]
    assert hosts.asked == 1


async def test_an_earlier_one_wakes_who_sleeps_towards_a_later_one() -> None:
    timers, hosts, done = make()
    async with ending_host(hosts):
        timers.after(60, done.work("late"))
        await settled()
        woken = anyio.Event()

        async def soon() -> None:
            done.append("soon")
            woken.set()

        timers.after(0.01, soon)
        await woken.wait()
    assert done == ["soon", "late"]


async def test_where_no_host_can_wait_the_caller_is_told() -> None:
    timers, _, done = make()
    assert not timers.after(1, done.work("never"))
    await settled()
    assert done == []


async def test_the_waiting_moves_on_to_another_host() -> None:
    timers, hosts, done = make()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as second:
            async with anyio.create_task_group() as first:
                hosts.groups += [first, second]
                timers.after(0.05, done.work("done"))
                await settled()
                del hosts.groups[0]
                first.cancel_scope.cancel()
            assert done == []
        assert done == ["done"]
    assert hosts.asked == 2


async def test_where_no_host_is_left_to_wait_it_is_done_at_once() -> None:
    timers, hosts, done = make()
    async with ending_host(hosts):
        timers.after(60, done.work("b"))
        timers.after(30, done.work("a"))
        await settled()
    assert done == ["a", "b"]


async def test_it_can_be_used_again_after_it_has_run_out() -> None:
    timers, hosts, done = make()
    for name in ("one", "two"):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                hosts.groups = [tasks]
                timers.after(0.001, done.work(name))
    assert done == ["one", "two"]


async def test_work_that_fails_is_logged_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timers, hosts, done = make()

    async def fails() -> None:
        raise ValueError("broken")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            hosts.groups.append(tasks)
            timers.after(0.0, fails)
            timers.after(0.001, done.work("next"))
    assert done == ["next"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "ValueError: broken" in caplog.text
