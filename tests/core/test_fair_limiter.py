"""Who gets the next place: so many at once, so many of one owner, owners in turn."""

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket._runtime.fair_limiter import FairLimiter

from tests.core.members import settled

WAIT = 5.0


class Crowd:
    """Tasks that ask a limiter for a place, in the order in which they got one."""

    def __init__(self, limiter: FairLimiter) -> None:
        self._limiter = limiter
        self.running: list[str] = []

    async def ask(self, owner: str) -> None:
        await self._limiter.acquire(owner)
        self.running.append(owner)

    def leave(self, owner: str) -> None:
        self.running.remove(owner)
        self._limiter.release(owner)


async def test_so_many_run_at_once_and_the_next_one_when_one_has_ended() -> None:
    crowd = Crowd(FairLimiter(2, 2))
    async with anyio.create_task_group() as tasks:
        for owner in ("a", "b", "c"):
            tasks.start_soon(crowd.ask, owner)
            await settled()
        assert crowd.running == ["a", "b"]
        crowd.leave("a")
        await settled()
        assert crowd.running == ["b", "c"]


async def test_one_owner_has_its_share_and_others_do_not_wait_for_it() -> None:
    limiter = FairLimiter(4, 2)
    crowd = Crowd(limiter)
    async with anyio.create_task_group() as tasks:
        for owner in ("a", "a", "a", "b", "c"):
            tasks.start_soon(crowd.ask, owner)
            await settled()
        assert crowd.running == ["a", "a", "b", "c"]
        assert limiter.is_full
        crowd.leave("b")
        await settled()
        assert crowd.running == ["a", "a", "c"]
        assert not limiter.is_full
        crowd.leave("a")
        await settled()
        assert crowd.running == ["a", "c", "a"]


async def test_owners_take_turns_however_much_each_asks_for() -> None:
    crowd = Crowd(FairLimiter(1, 1))
    async with anyio.create_task_group() as tasks:
        for owner in ("x", "a", "a", "a", "b", "c", "b"):
            tasks.start_soon(crowd.ask, owner)
            await settled()
        turns = []
        while crowd.running:
            (owner,) = crowd.running
            turns.append(owner)
            crowd.leave(owner)
            await settled()
        assert turns == ["x", "a", "b", "c", "a", "b", "a"]


@pytest.mark.parametrize("owner", ["a", "b"])
async def test_who_gives_up_waiting_takes_no_place(owner: str) -> None:
    limiter = FairLimiter(1, 1)
    await limiter.acquire("a")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.acquire, owner)
            await settled()
            scope.cancel()
    limiter.release("a")
    with anyio.fail_after(WAIT):
        await limiter.acquire("c")


async def test_a_place_that_comes_in_the_turn_of_the_cancellation_is_given_back() -> None:
    limiter = FairLimiter(1, 1)
    await limiter.acquire("a")

    async def work() -> None:
        await limiter.acquire("b")
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            limiter.release("b")

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await settled()
            limiter.release("a")
            scope.cancel()
    with anyio.fail_after(WAIT):
        await limiter.acquire("c")
