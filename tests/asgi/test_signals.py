"""How SIGTERM and SIGINT are held back, with handlers in the place of a server's."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import FrameType, SimpleNamespace
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from pondsocket import Options, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._process import signals
from pondsocket_asgi._process.signals import SignalHook

from tests.asgi.held_signals import hold_signals

TERM: Final = signal.SIGTERM
INT: Final = signal.SIGINT


class FakeServer:
    """Signal handlers as uvicorn's Server has them."""

    def __init__(self) -> None:
        self.should_exit = False
        self.servers: list[Any] = []
        self.got: list[int] = []

    def handle_exit(self, number: int, _frame: FrameType | None) -> None:
        self.got.append(number)


@pytest.fixture(autouse=True)
def _pytest_keeps_its_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (TERM, INT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    for number in (TERM, INT):
        signal.signal(number, server.handle_exit)
    return server


@pytest.fixture
def hook() -> SignalHook:
    return SignalHook()


@pytest.fixture
def pond() -> PondSocket:
    return PondSocket()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(5_000):
        if condition():
            return
        await anyio.sleep(0.001)
    raise AssertionError("it did not become so")


async def terminate(pond: PondSocket) -> None:
    """Raise SIGTERM, and wait until it drains the pond."""
    signal.raise_signal(TERM)
    await until(lambda: pond.is_draining)


async def test_signals_are_held_from_the_first_connection_to_the_end_of_the_last(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        with hold_signals(hook, pond):
            assert signal.getsignal(TERM) != server.handle_exit
        assert signal.getsignal(TERM) == signal.getsignal(INT) != server.handle_exit
    assert signal.getsignal(TERM) == signal.getsignal(INT) == server.handle_exit


async def test_first_signal_drains_and_comes_back_when_the_last_connection_has_ended(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        await terminate(pond)
        signal.raise_signal(TERM)  # as a parent process sends it again
        await anyio.lowlevel.checkpoint()
        assert server.got == []
    await until(lambda: server.got)
    assert server.got == [TERM]
    assert signal.getsignal(TERM) == signal.getsignal(INT) == server.handle_exit


async def test_every_pond_is_drained_and_one_that_comes_later_too(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    other, late = PondSocket(), PondSocket()
    with hold_signals(hook, pond):
        with hold_signals(hook, other):
            pass
        signal.raise_signal(INT)
        await until(lambda: pond.is_draining and other.is_draining)
        with hold_signals(hook, late):
            assert late.is_draining
        assert server.got == []
    await until(lambda: server.got == [INT])


async def test_second_interrupt_ends_at_once(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        await terminate(pond)
        signal.raise_signal(INT)
        # uvicorn ends at once where an interrupt comes after something else.
        assert server.got == [TERM, INT]
        assert signal.getsignal(TERM) == server.handle_exit
    await anyio.lowlevel.checkpoint()
    assert server.got == [TERM, INT]


async def test_a_handler_of_no_server_is_left_alone(hook: SignalHook, pond: PondSocket) -> None:
    for term, interrupt in (
        (signal.SIG_IGN, signal.default_int_handler),
        (signal.SIG_IGN, signal.SIG_DFL),
        (signal.SIG_IGN, signal.SIG_IGN),
    ):
        signal.signal(TERM, term)
        signal.signal(INT, interrupt)
        with hold_signals(hook, pond):
            assert (signal.getsignal(TERM), signal.getsignal(INT)) == (term, interrupt)


async def test_handlers_that_others_have_put_over_ours_stay(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    foreign = FakeServer()
    with hold_signals(hook, pond):
        signal.signal(TERM, foreign.handle_exit)
    assert signal.getsignal(TERM) == foreign.handle_exit
    assert signal.getsignal(INT) == server.handle_exit


@pytest.mark.parametrize("is_connected", [True, False])
async def test_handlers_that_call_ours_reach_the_server(
    hook: SignalHook, pond: PondSocket, server: FakeServer, is_connected: bool
) -> None:
    passed: list[int] = []
    with hold_signals(hook, pond):
        ours: Any = signal.getsignal(TERM)

        def foreign(number: int, frame: FrameType | None) -> None:
            passed.append(number)
            ours(number, frame)

        signal.signal(TERM, foreign)
        if is_connected:
            signal.raise_signal(TERM)
            await until(lambda: pond.is_draining)
            assert server.got == []
    if not is_connected:
        signal.raise_signal(TERM)
    await until(lambda: server.got)
    assert server.got == [TERM]
    assert len(passed) == 1 + is_connected
    assert signal.getsignal(TERM) == foreign


async def test_a_handler_of_ours_that_others_put_back_late_reaches_the_server(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        ours = signal.signal(TERM, signal.SIG_IGN)
    signal.signal(TERM, ours)
    signal.raise_signal(TERM)
    assert server.got == [TERM]
    with hold_signals(hook, pond):
        await terminate(pond)
    await until(lambda: server.got == [TERM, TERM])
    assert signal.getsignal(TERM) == server.handle_exit


async def test_other_frameworks_see_that_the_process_ends(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        seen: Any = signal.getsignal(TERM)
        assert seen.__self__.should_exit is False
        signal.raise_signal(TERM)
        assert seen.__self__.should_exit is True
    await until(lambda: server.got)


async def test_a_server_that_ends_without_a_signal_is_noticed_when_it_is_asked(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(hook, pond):
        assert not hook.ask_server()
        server.should_exit = True
        assert hook.ask_server()
        assert pond.is_draining
    assert server.got == []
    assert signal.getsignal(TERM) == server.handle_exit


async def test_a_server_that_listens_no_more_is_ending(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    serving = [True]
    server.servers = [SimpleNamespace(is_serving=lambda: serving[0])]
    with hold_signals(hook, pond):
        assert not hook.ask_server()
        serving[0] = False
        assert hook.ask_server()


async def test_nothing_is_held_in_other_threads(
    hook: SignalHook, pond: PondSocket, server: FakeServer
) -> None:
    def serve() -> None:
        with hold_signals(hook, pond):
            assert signal.getsignal(TERM) == server.handle_exit

    await anyio.to_thread.run_sync(serve)
    assert not hook.ask_server()


async def test_a_connection_that_never_ends_does_not_hold_the_signal_for_ever(
    hook: SignalHook, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_OVERTIME_SECONDS", 0.05)
    with hold_signals(hook, PondSocket(options=Options(drain_seconds=0))):
        signal.raise_signal(TERM)
        await until(lambda: server.got)
        assert signal.getsignal(TERM) == server.handle_exit
    assert server.got == [TERM]


@pytest.mark.parametrize("is_worker", [False, True])
async def test_a_signal_that_kills_is_raised_when_the_server_had_time_to_end_by_itself(
    hook: SignalHook, pond: PondSocket, monkeypatch: pytest.MonkeyPatch, is_worker: bool
) -> None:
    raised: list[int] = []
    waits = []
    monkeypatch.setattr(signals, "parent_process", lambda: object() if is_worker else None)
    monkeypatch.setattr(signals, "_WORKER_SECONDS", 0.1)
    monkeypatch.setattr(signals, "_HAND_BACK_SECONDS", 0.05)
    timer = threading.Timer

    def note(seconds: float, *arguments: Any) -> threading.Timer:
        waits.append(seconds)
        return timer(seconds, *arguments)

    monkeypatch.setattr(threading, "Timer", note)
    signal.signal(TERM, signal.SIG_DFL)
    with hold_signals(hook, pond):
        await terminate(pond)
        monkeypatch.setattr(signal, "raise_signal", raised.append)
    assert raised == []
    await until(lambda: raised)
    assert raised == [TERM]
    assert signal.getsignal(TERM) == signal.SIG_DFL
    assert waits[-1] == (0.1 if is_worker else 0.05)


def test_a_signal_after_the_loops_end_goes_to_the_server_at_once(
    hook: SignalHook, pond: PondSocket, server: FakeServer, anyio_backend: str
) -> None:
    with ExitStack() as stack:

        async def run() -> None:
            stack.enter_context(hold_signals(hook, pond))

        anyio.run(run, backend=anyio_backend)
        signal.raise_signal(TERM)
        assert server.got == [TERM]


async def test_a_drain_that_fails_does_not_lose_the_signal(
    hook: SignalHook,
    pond: PondSocket,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_seconds: float) -> None:
        raise ValueError("of the core's")

    monkeypatch.setattr(pond, "begin_drain", fail)
    with hold_signals(hook, pond):
        signal.raise_signal(TERM)
        await until(lambda: "The drain of a pond failed." in caplog.text)
    await until(lambda: server.got)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_child_has_its_signals_for_itself(
    pond: PondSocket, server: FakeServer
) -> None:
    with hold_signals(signals.hook, pond):
        child = os.fork()
        if not child:
            os._exit(signal.getsignal(TERM) != server.handle_exit)
        assert (await anyio.to_thread.run_sync(os.waitpid, child, 0))[1] == 0
        signal.raise_signal(TERM)
        await until(lambda: pond.is_draining)
    await until(lambda: server.got)


@pytest.mark.parametrize("held", [True, False])
async def test_an_app_holds_signals_unless_it_is_told_not_to(
    pond: PondSocket, server: FakeServer, held: bool
) -> None:
    seen = []
    pond.create_endpoint("/socket", lambda ctx: seen.append(signal.getsignal(TERM)))
    app = PondASGIApp(pond, drain_on_signals=held)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(_message: Any) -> None:
        await anyio.lowlevel.checkpoint()

    await app({"type": "websocket", "path": "/socket", "headers": []}, receive, send)
    assert [handler == server.handle_exit for handler in seen] == [not held]


@pytest.mark.parametrize(
    ("kind", "method", "held"),
    [("websocket", "", True), ("http", "GET", True), ("http", "POST", False)],
)
async def test_an_app_holds_signals_for_what_may_last_and_no_longer_though_it_fails(
    pond: PondSocket, server: FakeServer, kind: str, method: str, held: bool
) -> None:
    seen = []

    async def fail(_message: Any = None) -> Any:
        seen.append(signal.getsignal(TERM))
        raise BrokenPipeError  # a server's own mistake

    scope = {"type": kind, "method": method, "path": "/socket", "headers": []}
    with suppress(BrokenPipeError):
        await PondASGIApp(pond)(scope, fail, fail)
    assert [handler == server.handle_exit for handler in seen] == [not held]
    assert signal.getsignal(TERM) == server.handle_exit
