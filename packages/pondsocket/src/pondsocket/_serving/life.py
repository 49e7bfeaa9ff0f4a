"""The life of a pond: entered by hosts and adapters, served, drained, closed."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import anyio
from pondsocket_common import CloseCode

from pondsocket._cluster.node import Node
from pondsocket._connection.ending import restart_frame, try_to_end
from pondsocket._connection.formats import Format
from pondsocket._connection.session import Session
from pondsocket._delivery.frame import Frame
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._runtime.lifespan import Lifespan
from pondsocket._runtime.tasks import Tasks, waiting_tasks
from pondsocket._state.lifecycle import PHASES, Phase, PhaseEvent
from pondsocket._state.request import ConnectRequest

from .drain import Drain
from .endpoints import Endpoints
from .gc_freeze import GCFreeze

# One core can serve so many clients a second that connect and join again (about 1 ms each), and
# still do its other work.
_ENDS_PER_SECOND: Final = 100


class Life:
    """The phases of one pond, and the tasks that `async with pond` owns.

    Args:
        lifespan: What the application opens before its first client; None: nothing.
        node: The pond as one of several; None: it is alone.
    """

    def __init__(
        self,
        environment: Environment,
        endpoints: Endpoints,
        lifespan: Lifespan | None,
        node: Node | None,
    ) -> None:
        self.phase = Phase.OPEN
        self.gc_freeze: GCFreeze | None = None
        if environment.options.gc_freeze:
            self.gc_freeze = GCFreeze(endpoints.connection_count)
        self._environment = environment
        self._endpoints = endpoints
        self._lifespan = lifespan
        self._node = node
        self._entries = 0
        self._with_waiting_handler: list[Session] = []  # a handler of theirs waits for the others

    def find_phase(self) -> Phase:
        """Return the phase."""
        return self.phase

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan has yielded; see `PondSocket.state`."""
        return {} if self._lifespan is None else self._lifespan.state

    @property
    def is_open(self) -> bool:
        """Whether what the application opens before its first client is open."""
        return self._lifespan is None or self._lifespan.is_open

    async def open_for_client(self, path: str) -> bool:
        """Open the lifespan for the first client, where no host does. False: that has failed."""
        lifespan, background = self._lifespan, self._environment.background
        return lifespan is None or await lifespan.open_for_client(background, path)

    def begin_drain(self, seconds: float | None) -> None:
        """Begin to drain; see `PondSocket.begin_drain`."""
        self._environment.loop.check("drain")
        sessions = self._endpoints.sessions()
        window = min(self._longest_window(seconds), len(sessions) / _ENDS_PER_SECOND)
        # Without connections there may be no event loop yet. With some, it is an error to be called
        # outside of a task, and the phase must not have changed then.
        drain = Drain(self._environment, sessions, window) if sessions else None
        if not self._advance(PhaseEvent.DRAIN):
            return
        self._environment.restart.window = window
        if drain is not None:
            drain.begin()

    async def drain(self, seconds: float | None) -> None:
        """Drain, and wait until the last connection has ended; see `PondSocket.drain`."""
        sessions = self._endpoints.sessions()
        self.begin_drain(seconds)
        await self._wait_ended(sessions, self._longest_window(seconds))

    def _longest_window(self, seconds: float | None) -> float:
        return self._environment.options.drain_seconds if seconds is None else max(0.0, seconds)

    async def close(self) -> None:
        """Close every connection; see `PondSocket.close`."""
        self._environment.loop.check("close")
        self._advance(PhaseEvent.CLOSE)
        sessions = self._endpoints.sessions()
        for session in sessions:
            try_to_end(
                session, partial(session.close, CloseCode.GOING_AWAY, "the server is closing")
            )
        await self._wait_ended(sessions, 0)
        await self._environment.failures.wait_told(self._environment.options.handler_grace)
        if self._lifespan is not None:
            await self._lifespan.close(sessions, self._environment.options.handler_grace + 1)

    def _advance(self, event: PhaseEvent) -> bool:
        following = PHASES.get((self.phase, event))
        if following is None:
            return False
        self.phase = following
        self._environment.restart.is_closed = following is Phase.CLOSED
        return True

    async def _wait_ended(self, sessions: Sequence[Session], seconds: float) -> None:
        if not sessions:
            return
        # The caller may be a handler: its connection ends after it. Nor does it wait for other
        # handlers that wait here, as these may wait for it.
        tasks = waiting_tasks()
        own = [session for session in sessions if session.is_run_by(tasks)]
        self._with_waiting_handler.extend(own)
        try:
            # Handlers may outlive their grace: plain functions cannot be cancelled.
            with anyio.move_on_after(seconds + self._environment.options.handler_grace + 1):
                for session in sessions:
                    if session not in self._with_waiting_handler:
                        await session.wait_ended()
        finally:
            for session in own:
                self._with_waiting_handler.remove(session)

    def goodbye(self, request: ConnectRequest) -> Frame:
        """Return what the client of a refused event stream is told; see `PondSocket.goodbye`."""
        frame = restart_frame(self._environment.restart, after_ms=0)
        endpoint = self._endpoints.find(request.path)
        chosen = None if endpoint is None else endpoint.formats.choose(request)
        if isinstance(chosen, Format):
            return frame.in_format(chosen.codec) or frame
        return frame

    async def enter(self) -> None:
        """Begin `async with pond`."""
        background = self._environment.background
        is_first = background.tasks is None
        run = self._node.begin() if is_first and self._node is not None else None
        self._advance(PhaseEvent.ENTER)
        self._environment.loop.enter()
        self._entries += 1
        if background.tasks is None:
            background.tasks = await Tasks().__aenter__()
            if run is not None:
                background.tasks.start_soon(run)
        try:
            if self._node is not None:
                await self._node.wait_ready()
            if self._lifespan is not None:
                await self._lifespan.open(background.tasks.start_soon)
            if self.gc_freeze is not None:
                self.gc_freeze.begin()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """End one `async with pond`: the last one closes the pond."""
        # Both the host's lifespan and the adapter's may enter it: the last exit closes it.
        background = self._environment.background
        tasks = background.tasks
        if not self._entries:
            raise UsageError("`async with pond` ends once more than it has begun.")
        self._entries -= 1
        try:
            if not self._entries:
                await self.close()
                if self._node is not None:
                    await self._node.close()
        finally:
            if self.gc_freeze is not None and not self._entries:
                self.gc_freeze.end()
            if tasks is not None and not self._entries:
                background.tasks = None
                tasks.cancel()
                await tasks.__aexit__(None, None, None)
