"""A log that cannot be written, or one part of an end that fails, leaves nothing half done."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
import pytest
from pondsocket import CloseCode, History, LeaveContext, PondSocket
from pondsocket._channel.channel import Channel
from pondsocket._connection.session import Session
from pondsocket._history.memory import MemoryStore
from pondsocket.testing import MemoryPeer, connect

from tests.core.members import settled
from tests.core.ponds import ROOM, PondSetup, accept_join, admit, build
from tests.core.slow_consumers import build_with, join_and_stall, tell

OTHER: Final = "/room/2"


class NoFile(logging.Handler):
    """A handler that finds no descriptor for its file, as a FileHandler with `delay` may."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(24, "Too many open files")


@pytest.fixture
def broken_log() -> Iterator[None]:
    log, handler = logging.getLogger("pondsocket"), NoFile()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.usefixtures("broken_log")
async def test_a_client_is_served_though_nothing_can_be_logged(
    capfd: pytest.CaptureFixture[str],
) -> None:
    setup = build()
    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        assert len(setup.endpoint.sessions) == 1
    await settled()
    assert len(setup.endpoint.sessions) == 0
    assert await setup.lobby.list_channels() == []
    assert "Too many open files" in capfd.readouterr().err


@pytest.mark.usefixtures("broken_log")
@pytest.mark.parametrize("policy", ["close", "drop_oldest"])
async def test_a_slow_consumer_is_dealt_with_though_nothing_can_be_logged(policy: Any) -> None:
    setup = build_with(policy)
    async with (
        connect(setup.pond, "/socket?user=bob") as bob,
        connect(setup.pond, "/socket?user=ann") as ann,
    ):
        await bob.join(ROOM)
        await join_and_stall(setup, ann, 2)
        for n in range(10):
            await tell(setup, {"n": n})
            assert (await bob.receive_event("tick")).payload == {"n": n}
        await settled()
        assert (ann.closed is not None) is (policy == "close")


async def ended_with_a_failure(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, end: Callable[[MemoryPeer], object]
) -> tuple[PondSetup, list[str]]:
    """End a connection that is in two rooms, where a function fails in the first one."""
    left: list[str] = []
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join, history=History())

    @lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.channel.name)

    working, calls = getattr(owner, name), 0

    def fail_once(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError
        return working(*arguments)

    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        await ann.join(OTHER)
        monkeypatch.setattr(owner, name, fail_once)
        end(ann)
        await settled()
        assert calls
        assert len(endpoint.sessions) == 0
    return PondSetup(pond, endpoint, lobby), left


ENDS: Final[dict[str, Callable[[MemoryPeer], object]]] = {
    "the client goes": MemoryPeer.vanish,
    "the app closes it": lambda peer: peer.session.close(CloseCode.DISCONNECTED),
}
ends = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())


@ends
async def test_a_leave_that_fails_keeps_no_other_channel_from_being_left(
    end: Callable[[MemoryPeer], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup, left = await ended_with_a_failure(monkeypatch, Channel, "_finish_leave", end)
    assert left == [OTHER]
    assert await setup.lobby.list_channels() == []
    assert "A leave failed (user='ann')." in caplog.text
    assert "MemoryError" in caplog.text


@ends
async def test_a_history_that_cannot_be_tidied_keeps_no_channel_from_being_left(
    end: Callable[[MemoryPeer], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup, left = await ended_with_a_failure(monkeypatch, MemoryStore, "tidy", end)
    assert sorted(left) == [ROOM, OTHER]
    assert await setup.lobby.list_channels() == []
    assert "A history was not tidied." in caplog.text


@pytest.mark.parametrize(
    ("end", "name", "code"),
    [
        (PondSocket.close, "close", CloseCode.GOING_AWAY),
        (PondSocket.drain, "announce_restart", CloseCode.RESTART),
    ],
)
async def test_one_connection_that_cannot_be_ended_keeps_no_other_from_it(
    end: Any,
    name: str,
    code: CloseCode,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build()
    working = getattr(Session, name)

    def fail(session: Session, *arguments: Any) -> None:
        if session.user_id == "ann":
            raise MemoryError
        working(session, *arguments)

    async with (
        connect(setup.pond, "/socket?user=ann") as ann,
        connect(setup.pond, "/socket?user=bob") as bob,
        anyio.create_task_group() as tasks,
    ):
        monkeypatch.setattr(Session, name, fail)
        tasks.start_soon(end, setup.pond)
        assert await bob.wait_closed() is code
        monkeypatch.undo()
        ann.vanish()
    assert "The end of a connection failed (user='ann')." in caplog.text
