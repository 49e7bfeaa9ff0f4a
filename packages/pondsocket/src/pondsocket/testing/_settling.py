"""What a test asks of a pond that serves its clients: whether it is done, and what has failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import anyio.lowlevel

from pondsocket._connection.session import Session
from pondsocket._errors import UsageError
from pondsocket._server import PondSocket
from pondsocket._telemetry.failures import ErrorContext

from ._clock import FakeClock

# On asyncio, anyio polls every 0.1 s while a task can go on: these turns let most of them finish.
_TURNS: Final = 30
# Between two looks at a handler that waits for a thread, a socket or a timer.
_PAUSE: Final = 0.001


async def settle(pond: PondSocket, *, wait: float = 1.0) -> None:
    """Wait until every message of a client is handled, and all that this has sent has arrived.

    What is sent later, by a timer or a task of the application, is not waited for.

    Raises:
        TimeoutError: A handler still runs after `wait` seconds; the error says whose.
    """
    busy: list[Session] = []
    with anyio.move_on_after(wait):
        while True:
            for _ in range(_TURNS):
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            busy = [session for session in pond.endpoints.sessions() if not session.is_idle]
            if not busy and not pond._environment.loop_turn.waiting:
                return
            await anyio.sleep(_PAUSE)
    users = ", ".join(sorted({repr(session.user_id) for session in busy}))
    raise TimeoutError(f"Handlers still run after {wait:g} s, for messages of {users or 'no one'}.")


@contextmanager
def failures(pond: PondSocket) -> Iterator[list[ErrorContext]]:
    """Collect what handlers raise within the block, at once; see `PondSocket.on_error`."""
    seen: list[ErrorContext] = []
    watchers = pond._environment.failures.watchers
    watchers.append(seen.append)
    try:
        yield seen
    finally:
        watchers.remove(seen.append)


@contextmanager
def clock_of(pond: PondSocket, clock: FakeClock | None = None) -> Iterator[FakeClock]:
    """Let the pond go by a clock that the test moves, for connections that are opened in the block.

    Args:
        clock: The clock; None: a new one, which stands at 0.

    Raises:
        UsageError: A client is connected, which goes by the clock that it found.
    """
    if pond.endpoints.sessions():
        raise UsageError("Set the clock before the first client connects.")
    clock = FakeClock() if clock is None else clock
    environment = pond._environment
    before = environment.clock
    # Frozen for its readers: it is one object of all parts of the pond.
    object.__setattr__(environment, "clock", clock)
    try:
        yield clock
    finally:
        object.__setattr__(environment, "clock", before)
