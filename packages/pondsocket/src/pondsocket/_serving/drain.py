"""The drain of a pond: every client is told when its connection will be closed, and it is then.

One task does both, and only so much in one turn of the event loop. All at once, with a task for
each connection, would stop the loop for 1.8 s at 50,000 connections.
"""

import random
from collections import deque
from functools import partial
from typing import Final

import anyio

from pondsocket._connection.ending import restart, try_to_end
from pondsocket._connection.session import Session
from pondsocket._environment import Environment
from pondsocket._runtime.timers import Spawn, Timers

# On uvicorn it takes 40 us to tell a client, and 500 to close a connection, most of them in the
# turns that follow: at most 7 ms together, and as much again where the processor is shared.
TELLS_PER_TURN: Final = 50
CLOSES_PER_TURN: Final = 10
# Until the rest: the loop serves meanwhile what has come.
_PAUSE_SECONDS: Final = 0.001


class Drain:
    """One drain.

    Args:
        sessions: The connections.
        window: Over how many seconds they are closed.
    """

    def __init__(self, environment: Environment, sessions: list[Session], window: float) -> None:
        self._environment = environment
        self._window = window
        self._count = len(sessions)
        self._began = anyio.current_time()
        self._untold = sessions
        self._told: deque[tuple[float, Session]] = deque()  # and when to close it; the next first
        self._timers = Timers(self._find_host)

    def begin(self) -> None:
        """Tell the first clients, and start the task that does the rest."""
        self._tell_some(self._began)
        self._go_on(self._began)

    async def _continue(self) -> None:
        now = anyio.current_time()
        try:
            self._close_some(now)
            self._tell_some(now)
        finally:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._untold:
            wait = _PAUSE_SECONDS
        elif self._told:
            due = self._told[0][0]
            wait = due - now if due > now else _PAUSE_SECONDS
        else:
            return
        if self._environment.is_closed or not self._timers.after(wait, self._continue):
            # None is open any more.
            self._untold.clear()
            self._told.clear()

    def _tell_some(self, now: float) -> None:
        """Tell some clients, those first that are closed first, in an order of no meaning."""
        untold = self._untold
        for _ in range(min(TELLS_PER_TURN, len(untold))):
            place = self._count - len(untold)
            chosen = random.randrange(len(untold))  # noqa: S311
            untold[chosen], untold[-1] = untold[-1], untold[chosen]
            session = untold.pop()
            due = self._began + self._window * (place + random.random()) / self._count  # noqa: S311
            announce = partial(session.announce_restart, max(0.0, due - now))
            if try_to_end(session, announce) is not False:
                self._told.append((due, session))

    def _close_some(self, now: float) -> None:
        told = self._told
        closed = 0
        while told and told[0][0] <= now and closed < CLOSES_PER_TURN:
            session = told.popleft()[1]
            if session.is_open:
                closed += 1
                try_to_end(session, partial(restart, session))

    def _find_host(self) -> Spawn | None:
        """Find who runs the task: the pond, or else one of the last connections to be closed."""
        tasks = self._environment.background.tasks
        if tasks is not None:
            return tasks.start_soon
        for session in reversed(self._untold):
            if session.is_open:
                return session.spawn
        for _, session in reversed(self._told):
            if session.is_open:
                return session.spawn
        return None
