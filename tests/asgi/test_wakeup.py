"""Signals that an asyncio loop was asked to watch, on both of its implementations."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import pytest
import uvloop
from pondsocket import PondSocket
from pondsocket_asgi._process.signals import SignalHook
from pondsocket_asgi._process.wakeup import Wakeup

from tests.asgi.held_signals import hold_signals

NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def _pytest_keeps_its_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in WATCHED}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    new_loop: NewLoop = request.param
    return new_loop


class Watch:
    """A handler that watches the signals as granian and hypercorn do."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self._news = asyncio.Event()
        for number in WATCHED:
            asyncio.get_running_loop().add_signal_handler(number, self._see, number)

    def _see(self, number: int) -> None:
        self.got.append(number)
        self._news.set()

    async def wait(self, count: int) -> None:
        """Wait until so many have come."""
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()


async def drained(pond: PondSocket) -> None:
    async with asyncio.timeout(5):
        while not pond.is_draining:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


def run(new_loop: NewLoop, test: Callable[[Watch], object]) -> None:
    """Run a coroutine function in a loop that watches signals."""

    async def main() -> None:
        await test(Watch())  # type: ignore[misc]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_the_loop_sees_a_held_signal_after_the_drain_only(new_loop: NewLoop) -> None:
    hook, pond = SignalHook(), PondSocket()

    async def test(watch: Watch) -> None:
        with hold_signals(hook, pond):
            signal.raise_signal(signal.SIGTERM)
            await drained(pond)
            await asyncio.sleep(0)
            assert watch.got == []
        await watch.wait(1)
        assert watch.got == [signal.SIGTERM]

    run(new_loop, test)


def test_the_loop_sees_other_signals_meanwhile(new_loop: NewLoop) -> None:
    hook, pond = SignalHook(), PondSocket()

    async def test(watch: Watch) -> None:
        with hold_signals(hook, pond):
            signal.raise_signal(signal.SIGUSR1)
            await watch.wait(1)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
            await watch.wait(2)
            assert watch.got == [signal.SIGUSR1] * 2
        await watch.wait(3)
        assert watch.got[2] == signal.SIGTERM

    run(new_loop, test)


def test_the_loop_sees_every_signal_again_when_no_client_is_connected(new_loop: NewLoop) -> None:
    hook, pond = SignalHook(), PondSocket()

    async def test(watch: Watch) -> None:
        with hold_signals(hook, pond):
            pass
        signal.raise_signal(signal.SIGINT)
        await watch.wait(1)
        assert watch.got == [signal.SIGINT]
        assert not pond.is_draining

    run(new_loop, test)


def test_a_second_interrupt_reaches_the_loop_during_the_drain(new_loop: NewLoop) -> None:
    hook, pond = SignalHook(), PondSocket()

    async def test(watch: Watch) -> None:
        with hold_signals(hook, pond):
            signal.raise_signal(signal.SIGINT)
            await drained(pond)
            signal.raise_signal(signal.SIGINT)
            await watch.wait(2)

    run(new_loop, test)


def test_a_descriptor_that_others_have_set_since_stays(new_loop: NewLoop) -> None:
    async def test(watch: Watch) -> None:
        wakeup = Wakeup.replace(asyncio.get_running_loop(), ())
        assert wakeup is not None
        ours = signal.set_wakeup_fd(-1)
        wakeup.restore()
        assert signal.set_wakeup_fd(ours) == -1
        wakeup.restore()
        wakeup.close()
        signal.raise_signal(signal.SIGUSR1)
        await watch.wait(1)

    run(new_loop, test)


def test_nothing_is_replaced_where_no_loop_reads_it() -> None:
    async def test() -> None:
        assert Wakeup.replace(asyncio.get_running_loop(), ()) is None
        assert Wakeup.replace(object(), ()) is None

    with asyncio.Runner() as runner:
        runner.run(test())
