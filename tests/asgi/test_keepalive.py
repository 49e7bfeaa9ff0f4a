"""Pings by one timer: when each connection is due, and that a lot of them stop nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pondsocket_asgi._fastlane.keepalive import Keepalive
from pondsocket_asgi._fastlane.serving import Serving
from uvicorn.config import Config
from uvicorn.server import ServerState


class Loop:
    """An event loop whose time a test moves.

    Attributes:
        turns: How many callbacks have run.
    """

    def __init__(self) -> None:
        self.now = 1_000.3
        self.turns = 0
        self._calls: list[Call] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> "Call":
        call = Call(when, callback)
        self._calls.append(call)
        return call

    def call_soon(self, callback: Callable[[], object]) -> "Call":
        return self.call_at(self.now, callback)

    @property
    def waiting(self) -> int:
        """How many timers there are."""
        return sum(not call.is_cancelled for call in self._calls)

    def move(self, seconds: float) -> None:
        """Let time pass, and call what is due in between."""
        end = self.now + seconds
        while due := [each for each in self._calls if not each.is_cancelled and each.when <= end]:
            first = min(due, key=lambda each: each.when)
            self._calls.remove(first)
            self.now = max(self.now, first.when)
            self.turns += 1
            first.callback()
        self.now = end


class Call:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Client:
    """A connection that notes when it is called."""

    def __init__(self, loop: Loop, then: Callable[["Client"], object] | None = None) -> None:
        self.step = -1
        self.times: list[float] = []
        self._loop = loop
        self._then = then

    def ping_or_end(self) -> None:
        self.times.append(self._loop.now)
        if self._then is not None:
            self._then(self)


def keepalive(loop: Any, interval: float = 20.0, timeout: float | None = 20.0) -> Keepalive:
    return Keepalive(loop, interval, timeout)


def test_a_ping_is_due_after_the_interval_or_a_little_before_and_once() -> None:
    loop = Loop()
    clock = keepalive(loop)
    client = Client(loop)
    clock.expect_ping(client)
    assert 19 <= clock.seconds_left(client) <= 20
    loop.move(100)
    (when,) = client.times
    assert 1_019.3 <= when <= 1_020.3
    assert loop.waiting == 0


def test_an_answer_is_never_missed_too_early() -> None:
    loop = Loop()
    clock = keepalive(loop, timeout=5.0)
    clients = []
    for _ in range(10):
        client = Client(loop)
        clients.append((loop.now, client))
        clock.expect_answer(client)
        loop.move(0.13)
    loop.move(10)
    for began, client in clients:
        (when,) = client.times
        assert began + 5 <= when <= began + 6


def test_without_a_limit_for_answers_the_next_ping_is_due() -> None:
    loop = Loop()
    clock = keepalive(loop, timeout=None)
    client = Client(loop, clock.expect_answer)
    clock.expect_ping(client)
    loop.move(101)
    assert len(client.times) == 5
    assert all(19 <= b - a <= 20.1 for a, b in zip(client.times, client.times[1:], strict=False))


def test_one_that_is_removed_or_put_off_is_not_called_and_no_timer_stays() -> None:
    loop = Loop()
    clock = keepalive(loop)
    one, other = Client(loop), Client(loop)
    clock.expect_ping(one)
    clock.expect_ping(other)
    clock.remove(one)
    clock.remove(one)
    loop.move(15)
    clock.expect_ping(other)
    loop.move(10)
    assert one.times == other.times == []
    clock.remove(other)
    assert loop.waiting == 0
    loop.move(100)
    assert other.times == []


def test_many_that_are_due_together_are_called_in_several_turns() -> None:
    loop = Loop()
    clock = keepalive(loop)
    clients = [Client(loop) for _ in range(1_700)]
    for client in clients:
        clock.expect_ping(client)
    loop.move(30)
    assert all(len(client.times) == 1 for client in clients)
    steps = 20
    assert loop.turns >= steps + 3


def test_one_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    clock = keepalive(loop)

    def fail(_client: Client) -> None:
        raise OSError

    clients = [Client(loop, fail) for _ in range(3)]
    for client in clients:
        clock.expect_ping(client)
    loop.move(30)
    assert [len(client.times) for client in clients] == [1, 1, 1]
    assert [each.getMessage() for each in caplog.records] == ["A ping failed."] * 3
    assert {vars(each)["connection"] for each in caplog.records} == {"-"}


def test_short_intervals_are_kept_with_some_precision() -> None:
    loop = Loop()
    clock = keepalive(loop, interval=0.2, timeout=0.2)
    client = Client(loop)
    clock.expect_ping(client)
    loop.move(1)
    assert 0.18 <= client.times[0] - 1_000.3 <= 0.2


def test_no_time_for_an_answer_is_a_time() -> None:
    loop = Loop()
    clock = keepalive(loop, timeout=0.0)
    client = Client(loop)
    clock.expect_answer(client)
    loop.move(2)
    assert len(client.times) == 1


@pytest.mark.parametrize("interval", [None, 0, -1])
def test_without_an_interval_none_is_pinged(interval: float | None) -> None:
    config = Config(accepts_nothing, ws_ping_interval=interval, log_config=None)
    loop = asyncio.new_event_loop()
    try:
        assert Serving(config, ServerState(), {}, loop).keepalive is None
    finally:
        loop.close()


async def accepts_nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Stand for an app."""
