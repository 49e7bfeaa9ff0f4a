"""Clients and ponds that begin in one task and end in another, as fixtures of pytest-asyncio do."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from pondsocket.testing import connect
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

from tests.faults._outcome import end
from tests.faults._rooms import build

BLOCKS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Any]]]] = {
    "connect": lambda: connect(build().pond, "/socket"),
    "async with pond": lambda: build().pond,
    "lifespan": lambda: build().pond.lifespan(),
}


def several(runner: asyncio.Runner) -> None:
    """End two clients in the order in which they began."""
    pond = build().pond
    blocks = [connect(pond, "/socket"), connect(pond, "/socket")]
    for peer in [runner.run(block.__aenter__()) for block in blocks]:
        runner.run(peer.join("/room/1"))
    for block in blocks:
        runner.run(block.__aexit__(None, None, None))


def driver(runner: asyncio.Runner) -> None:
    """Use a session of the driver in three tasks."""
    session = runner.run(ASGITestDriver(PondASGIApp(build().pond)).connect_websocket("/socket"))
    runner.run(session.receive_json())
    runner.run(session.disconnect())


def block(make: Callable[[], AbstractAsyncContextManager[Any]], runner: asyncio.Runner) -> None:
    """Begin and end one block."""
    made = make()
    runner.run(enter(made))
    runner.run(made.__aexit__(None, None, None))


async def enter(made: AbstractAsyncContextManager[Any]) -> None:
    await made.__aenter__()


def main() -> list[str]:
    faults: list[str] = []
    trials: dict[str, Callable[[asyncio.Runner], None]] = {"several": several, "driver": driver}
    for name, make in BLOCKS.items():
        trials[name] = lambda runner, make=make: block(make, runner)  # type: ignore[misc]
    for name, trial in trials.items():
        with asyncio.Runner() as runner:
            try:
                trial(runner)
            except Exception as error:  # noqa: BLE001 - all of them are shown
                faults.append(f"{name}: {type(error).__name__}: {error}")
    return faults


if __name__ == "__main__":
    end(main(), "fixtures may end in another task")
