"""A clock that a test moves, and the event loop's with it where that stands still."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pondsocket.testing as core
from pondsocket.testing import FakeClock

from pondsocket_asgi.testing._running import ASGIApp
from pondsocket_asgi.testing._virtual_time import running_virtual_time

from .ponds import ponds_of


class LoopClock(FakeClock):
    """The clock of a test's pond, which goes with the event loop's in virtual time.

    Rates and ages of histories go by it. In virtual time (`virtual_backend`, `JumpingLoop`) every
    sleep and every time limit does as well: to advance the clock moves the loop's time, and what
    sleeps there moves the clock.
    """

    def __init__(self, now: float = 0.0) -> None:
        super().__init__(now)
        self._seen: float | None = None  # of the loop's time

    def __call__(self) -> float:
        """Return the time, in seconds."""
        virtual = running_virtual_time()
        if virtual is not None:
            before, self._seen = self._seen, virtual[0]
            super().advance(max(0.0, self._seen - (self._seen if before is None else before)))
        return super().__call__()

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            UsageError: `seconds` is negative or not a number; time does not go back.
        """
        self()
        super().advance(seconds)
        virtual = running_virtual_time()
        if virtual is not None:
            now, jump = virtual
            jump(seconds)
            self._seen = now + seconds


@contextmanager
def clock_of(app: ASGIApp) -> Iterator[FakeClock]:
    """Replace the clock of the ponds behind an app by one that the test moves.

    Raises:
        UsageError: A client is connected to each of them.
    """
    clock = LoopClock()
    with ExitStack() as stack:
        found = ponds_of(app)
        # An app in which no pond can be seen may be that of any pond of the process.
        free = [pond for pond in found if not pond.endpoints.sessions()]
        for pond in free or found:
            stack.enter_context(core.clock_of(pond, clock))
        yield clock
