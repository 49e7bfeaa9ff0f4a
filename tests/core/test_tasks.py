"""Blocks that end in another task than they began in, as fixtures of some test runners do."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal
from pondsocket import EventContext, PondSocket, UsageError
from pondsocket._runtime.tasks import Tasks
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import CloseCode

from tests.core.ponds import ROOM, build

T = TypeVar("T")
Run = Callable[[Awaitable[T]], T]


@pytest.fixture
def run(anyio_backend: str) -> Iterator[Run[Any]]:
    """Run each thing in a task of its own, all in one event loop."""

    async def in_task(what: Awaitable[T]) -> T:
        with anyio.fail_after(5):
            return await what

    with start_blocking_portal(anyio_backend) as portal:
        yield lambda what: portal.call(in_task, what)


def client() -> AbstractAsyncContextManager[MemoryPeer]:
    return connect(build().pond, "/socket?user=ann")


async def join(peer: MemoryPeer) -> None:
    assert (await peer.join(ROOM)).event == "ACKNOWLEDGE"


async def use_pond(pond: PondSocket | None) -> None:
    assert pond is None or pond.is_ready
    await anyio.lowlevel.checkpoint()


FIXTURES: Final[dict[str, tuple[Callable[[], AbstractAsyncContextManager[Any]], Any]]] = {
    "connect": (client, join),
    "async with pond": (lambda: build().pond, use_pond),
    "lifespan": (lambda: build().pond.lifespan(), use_pond),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_block_may_end_in_another_task(name: str, run: Run[Any]) -> None:
    make, use = FIXTURES[name]
    block = make()
    value = run(block.__aenter__())
    run(use(value))
    run(block.__aexit__(None, None, None))


def test_clients_may_end_in_the_order_in_which_they_began(run: Run[Any]) -> None:
    pond = build().pond
    blocks = [connect(pond, f"/socket?user=user{number}") for number in range(3)]
    for peer in [run(block.__aenter__()) for block in blocks]:
        run(join(peer))
    for block in blocks:
        run(block.__aexit__(None, None, None))
    assert run(pond.channel("/socket", ROOM).user_count()) == 0


def test_a_pond_may_end_before_its_clients(run: Run[Any]) -> None:
    pond = build().pond
    block = connect(pond, "/socket?user=ann")
    run(pond.__aenter__())
    peer = run(block.__aenter__())
    run(pond.__aexit__(None, None, None))
    assert peer.closed is CloseCode.GOING_AWAY
    run(block.__aexit__(None, None, None))


def test_two_lifespans_in_several_tasks_close_the_pond_with_the_last(run: Run[Any]) -> None:
    pond = build().pond
    run(pond.__aenter__())
    run(pond.__aenter__())
    run(pond.__aexit__(None, None, None))
    assert pond.is_ready
    run(pond.__aexit__(None, None, None))
    assert not pond.is_ready
    with pytest.raises(UsageError, match="once more than it has begun"):
        run(pond.__aexit__(None, None, None))


def test_handlers_that_still_run_are_cancelled_if_the_block_fails(run: Run[Any]) -> None:
    ended: list[bool] = []

    async def hang(ctx: EventContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    setup = build()
    setup.lobby.on_message("hang", hang)
    block = connect(setup.pond, "/socket?user=ann")
    peer = run(block.__aenter__())
    run(join(peer))

    async def send() -> None:
        peer.send("BROADCAST", ROOM, "hang")
        await anyio.wait_all_tasks_blocked()

    run(send())
    error = AssertionError("the test failed")
    assert not run(block.__aexit__(AssertionError, error, None))  # not swallowed
    assert ended == [True]


async def test_what_tasks_raise_is_raised_at_the_end_of_the_block() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as raised:
        async with Tasks() as tasks:
            tasks.start_soon(fail)
    assert [type(each) for each in raised.value.exceptions] == [LookupError]


async def test_a_cancelled_block_waits_until_its_tasks_have_ended() -> None:
    ended: list[bool] = []

    async def clean_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            ended.append(True)

    with anyio.move_on_after(0.01):
        async with Tasks() as tasks:
            tasks.start_soon(clean_up)
    assert ended == [True]
