"""What is counted, replaced or started for a connection is undone, whatever fails on the way.

A process without descriptors, threads or memory goes on, and is whole again when they are there.
"""

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from pondsocket import Options, PondSocket
from pondsocket_asgi import PondASGIApp, _app
from pondsocket_asgi._process import signals, sockets
from pondsocket_asgi._process.servers import HypercornWorker
from pondsocket_asgi._process.signals import SignalHook
from pondsocket_asgi._process.sockets import Line, Lines
from pondsocket_asgi._transport.heartbeat import Heartbeat

from tests.asgi.held_signals import hold_signals

TERM: Final = signal.SIGTERM
OWN_DESCRIPTORS: Final = Path("/proc/self/fd")
linux = pytest.mark.skipif(not OWN_DESCRIPTORS.is_dir(), reason="Linux alone lists descriptors")
NO_DESCRIPTOR: Final = OSError(errno.EMFILE, "Too many open files")
NO_MEMORY: Final = MemoryError()
NO_THREAD: Final = RuntimeError("can't start new thread")


@pytest.fixture(autouse=True)
def _pytest_keeps_its_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (TERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def got() -> list[int]:
    """The signals that the server has got."""
    got: list[int] = []

    def handle_exit(number: int, _frame: FrameType | None) -> None:
        got.append(number)

    for number in (TERM, signal.SIGINT):
        signal.signal(number, handle_exit)
    return got


@pytest.fixture
def pond() -> PondSocket:
    return PondSocket()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.001)


class Failing:
    """A function that fails until `mend`.

    Args:
        error: What it raises.
        working: What it does afterwards.
    """

    def __init__(self, error: BaseException, working: Callable[..., Any]) -> None:
        self._error: BaseException | None = error
        self._working = working
        self.calls = 0

    def mend(self) -> None:
        self._error = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self._error is not None:
            raise self._error
        return self._working(*arguments, **options)


def descriptors() -> int:
    return sum(1 for _ in OWN_DESCRIPTORS.iterdir())


# --- signals ------------------------------------------------------------------------------------

STEPS: Final = {
    "no descriptor for the pipe": (os, "pipe", NO_DESCRIPTOR),
    "no descriptor in the whole system": (os, "pipe", OSError(errno.ENFILE, "in the system")),
    "no memory for the pipe": (os, "pipe", NO_MEMORY),
    "a pipe that cannot be set up": (os, "set_blocking", OSError(errno.EBADF, "closed")),
    "a wakeup descriptor that is refused": (signal, "set_wakeup_fd", ValueError("not a thread")),
    "a server that has changed": (HypercornWorker, "find", AttributeError("context")),
    "no memory for the event loop": (signals, "_MainLoop", NO_MEMORY),
}


@linux
@pytest.mark.parametrize(("owner", "name", "error"), STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_that_could_not_hold_the_signals_is_not_counted(
    pond: PondSocket,
    got: list[int],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    error: Exception,
) -> None:
    hook, before, server = SignalHook(), descriptors(), signal.getsignal(TERM)
    with monkeypatch.context() as broken:
        failing = Failing(error, getattr(owner, name))
        broken.setattr(owner, name, failing)
        if isinstance(error, OSError):  # a client can be served all the same
            with hold_signals(hook, pond):
                assert signal.getsignal(TERM) == server
        else:
            with pytest.raises(type(error)):
                hook.enter(pond)
    assert failing.calls
    assert (signal.getsignal(TERM), descriptors()) == (server, before)
    signal.raise_signal(TERM)  # of a process in which no client is connected
    assert got == [TERM]
    assert not pond.is_draining
    with hold_signals(hook, pond):  # the next connection, when all is well
        signal.raise_signal(TERM)
        await until(lambda: pond.is_draining)
        assert got == [TERM]
    await until(lambda: got == [TERM, TERM])
    assert descriptors() == before


@linux
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reader_that_the_loop_refuses_leaves_no_descriptor_behind(
    pond: PondSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)  # it has a wakeup descriptor from now on
    before, wakeup = descriptors(), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    refused = Failing(OSError(errno.ENOSPC, "epoll"), print)
    monkeypatch.setattr(loop, "add_reader", refused)
    with hold_signals(SignalHook(), pond):
        assert refused.calls == 1
    assert descriptors() == before
    assert signal.set_wakeup_fd(wakeup) == wakeup
    loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_signals_are_held_as_soon_as_a_descriptor_is_there(
    pond: PondSocket,
    got: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook, pipe = SignalHook(), Failing(NO_DESCRIPTOR, os.pipe)
    monkeypatch.setattr(os, "pipe", pipe)
    server = signal.getsignal(TERM)
    with hold_signals(hook, pond), hold_signals(hook, pond):
        assert signal.getsignal(TERM) == server
        pipe.mend()
        with hold_signals(hook, pond):
            assert signal.getsignal(TERM) != server
        assert signal.getsignal(TERM) != server
    assert signal.getsignal(TERM) == server
    assert caplog.text.count("Signals are not held for now") == 1  # not for each connection


@pytest.mark.usefixtures("got")
async def test_a_process_without_threads_still_passes_the_signal_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[int] = []
    signal.signal(TERM, signal.SIG_DFL)  # then the signal is raised a moment later, by a timer
    monkeypatch.setattr(threading.Timer, "start", Failing(NO_THREAD, print))
    with hold_signals(SignalHook(), PondSocket(options=Options(drain_seconds=0))):
        signal.raise_signal(TERM)
        monkeypatch.setattr(signal, "raise_signal", raised.append)
        await anyio.lowlevel.checkpoint()
    await until(lambda: raised)
    assert raised == [TERM]


@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_call_that_the_server_cancels_after_it_was_counted_is_counted_back(
    pond: PondSocket, got: list[int], kind: str
) -> None:
    server = signal.getsignal(TERM)
    held = anyio.Event()

    async def wait(_message: Any = None) -> Any:
        held.set()
        await anyio.sleep_forever()

    scope = {"type": kind, "method": "GET", "path": "/", "headers": []}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(PondASGIApp(pond), scope, wait, wait)
        await held.wait()
        assert signal.getsignal(TERM) != server
        tasks.cancel_scope.cancel()
    assert signal.getsignal(TERM) == server


# --- the clock ----------------------------------------------------------------------------------


class Beats:
    """An object that counts its beats, and may fail at them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.beats = 0

    def beat(self, now: float, interval: float) -> None:
        self.beats += 1
        if self.error is not None:
            raise self.error


async def test_the_check_of_one_connection_that_fails_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    also = Beats(NO_MEMORY)
    heartbeat = Heartbeat(Options(write_timeout=0.004), lambda: also.beat(0, 0))
    bad, good = Beats(ValueError("of its own")), Beats()
    async with anyio.create_task_group() as tasks:
        heartbeat.add(bad, tasks)  # which hosts the clock
        heartbeat.add(good, tasks)
        await until(lambda: good.beats > 2 and also.beats > 2)
        heartbeat.remove(bad)
        heartbeat.remove(good)
    assert "ValueError: of its own" in caplog.text
    assert not heartbeat._beating


class NoTasks:
    """A task group that starts none."""

    def start_soon(self, *_arguments: object) -> None:
        raise NO_MEMORY


async def test_a_clock_that_could_not_be_started_is_started_by_the_next_connection() -> None:
    heartbeat = Heartbeat(Options(write_timeout=0.004))
    first, second = Beats(), Beats()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(MemoryError):
            heartbeat.add(first, NoTasks())
        heartbeat.remove(first)
        heartbeat.add(second, tasks)
        await until(lambda: second.beats)
        heartbeat.remove(second)
    assert not first.beats


# --- descriptors to look through descriptors ----------------------------------------------------


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_ATTEMPT_SECONDS", 0.001)
    sockets._tell_once.cache_clear()


@pytest.mark.parametrize("error", [NO_DESCRIPTOR, NO_THREAD], ids=["descriptor", "thread"])
async def test_a_reset_that_finds_no_descriptor_is_tried_again(error: Exception) -> None:
    asked: list[Lines] = []

    def work(wanted: Lines) -> Lines:
        asked.append(wanted)
        if len(asked) < 3:
            raise error
        return wanted

    line = Line(sockets._address(("127.0.0.1", 1)), sockets._address(("127.0.0.1", 2)))  # type: ignore[arg-type]
    assert await sockets._Desk(work).ask(line)
    assert len(asked) == 3


@linux
def test_a_descriptor_that_cannot_be_copied_is_not_taken_for_a_closed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        monkeypatch.setattr(os, "dup", Failing(NO_DESCRIPTOR, os.dup))
        with pytest.raises(OSError, match="Too many open files"):
            list(sockets.own_sockets())


@pytest.mark.parametrize("error", [NO_DESCRIPTOR, NO_THREAD], ids=["descriptor", "thread"])
async def test_an_option_that_could_not_be_set_is_set_at_the_next_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    limited: list[float] = []
    limit = Failing(error, limited.append)

    async def limit_unacknowledged(seconds: float) -> None:
        limit(seconds)

    monkeypatch.setattr(_app, "limit_unacknowledged", limit_unacknowledged)
    app = PondASGIApp(PondSocket(options=Options(tcp_user_timeout=7)))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/none", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 404  # served all the same
    assert "Options.tcp_user_timeout has no effect yet" in caplog.text
    limit.mend()
    for _ in range(2):
        await app(scope, receive, send)
    assert limited == [7]
