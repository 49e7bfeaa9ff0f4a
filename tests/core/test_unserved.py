"""Broadcasts of a process that serves no clients: it is told what to write, and a server is not."""

import gc
import logging
import os
import subprocess
import sys
import textwrap

import pytest
from pondsocket import PondSocket
from pondsocket._runtime.unserved import PATIENCE, Unserved
from pondsocket.testing import connect

from tests.core.ponds import build
from tests.servers import ROOT

APP = """
    import asyncio, os, sys
    from pondsocket import ConnectionContext, JoinContext, PondSocket
    from pondsocket.testing import connect

    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept()

    @socket.channel("/room")
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()

    room = pond.channel("/socket", "/room")
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def errors_of(script: str) -> str:
    """Run a script in a process of its own. Return what it has logged."""
    command = [sys.executable, "-c", textwrap.dedent(APP) + textwrap.dedent(script)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "script",
    [
        'for _ in range(3): room.broadcast_nowait("news", {})',
        'for _ in range(3): asyncio.run(room.broadcast("news", {}))',
        'for _ in range(3): asyncio.run(pond.push("ann", "news", {}))',
        'pond.push_nowait("ann", "news", {})',
        'socket.broadcast_nowait("news", {})',
    ],
)
def test_a_script_is_told_at_its_end(script: str) -> None:
    told = errors_of(script)
    assert told.count("This process has sent broadcasts or pushes") == 1
    assert 'Publisher("redis://…").broadcast(path, channel, event, payload)' in told


@pytest.mark.parametrize(
    "script",
    [
        "",
        # What starts before its first client, as an importer does.
        """
        async def main():
            async with pond:
                await room.broadcast("news", {})
        room.broadcast_nowait("news", {})
        asyncio.run(main())
        """,
        """
        async def main():
            async with connect(pond, "/socket"):
                pass
        room.broadcast_nowait("news", {})
        asyncio.run(main())
        room.broadcast_nowait("news", {})
        """,
        # The parent of servers that it has forked after it has loaded the application.
        """
        room.broadcast_nowait("news", {})
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        """,
        # With an engine it is an error at once.
        """
        from pondsocket import UsageError
        from pondsocket.backplane.memory import MemoryHub
        shared = PondSocket(backplane=MemoryHub().backplane())
        try:
            shared.push_nowait("ann", "news", {})
            raise AssertionError
        except UsageError:
            pass
        """,
    ],
)
def test_a_server_is_not(script: str) -> None:
    assert errors_of(script) == ""


def test_a_worker_that_lives_long_is_told_soon(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    unserved = Unserved(clock)
    unserved.note()
    clock.now += PATIENCE - 1
    unserved.note()
    assert caplog.records == []
    clock.now += 1
    for _ in range(3):
        unserved.note()
    (told,) = caplog.records
    assert (told.name, told.levelno) == ("pondsocket.server", logging.WARNING)
    assert "has served no client" in told.getMessage()


def test_a_pond_that_is_served_is_not(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    unserved = Unserved(clock)
    unserved.note()
    unserved.end()
    clock.now += PATIENCE
    unserved.note()
    unserved.tell()
    assert caplog.records == []


async def test_a_served_pond_notes_nothing() -> None:
    setup = build()
    loop = setup.pond._environment.loop
    await setup.pond.push("ann", "news", {})
    assert loop.unserved._at_exit is not None
    async with connect(setup.pond, "/socket?user=ann"):
        await setup.pond.push("ann", "news", {})
    assert loop.unserved._at_exit is None


def test_a_pond_that_is_gone_is_forgotten() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket").broadcast_nowait("news", {})
    del pond
    gc.collect()
