"""The state of a connection, and its end: what the client is told, and what is left to do."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import anyio
from pondsocket_common import CloseCode

from pondsocket._delivery import replies
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.sink import Outlet
from pondsocket._log import get_log
from pondsocket._runtime.groups import Group
from pondsocket._runtime.loop import Loop
from pondsocket._runtime.tasks import Work, run_all
from pondsocket._state.lifecycle import LIVES, SERVED, Life, LifeEvent, Restart
from pondsocket._telemetry import safe_log

from .handle import ConnectionHandle, let_go
from .router import Connection, Router

_log: Final = get_log("pondsocket.session")
_RESTARTS: Final = "the server restarts"
# By names of their own: before Python 3.12 reading a member of an enum costs 0.3 us.
_ADMITTED: Final = Life.ADMITTED
_NORMAL: Final = CloseCode.NORMAL

S = TypeVar("S", bound=Connection)
T = TypeVar("T")


class Ending(Generic[S]):
    """The state of one connection, and how it ends.

    Args:
        router: Ends the memberships.
        opened_at: The time on the pond's clock.
    """

    __slots__ = (
        "_ended",
        "_goodbye",
        "_leave_work",
        "code",
        "handle",
        "life",
        "opened_at",
        "outlet",
        "peer",
        "reason",
        "router",
        "scopes",
    )

    def __init__(self, router: Router[S], opened_at: float) -> None:
        self.router = router
        self.opened_at = opened_at
        self.life: Life = _ADMITTED
        self.outlet: Outlet | None = None  # while the connection runs
        # Cancelled when the connection ends: joins that are not decided, by channel name, and
        # spawned tasks.
        self.scopes: dict[anyio.CancelScope, str | None] = {}
        self.code: CloseCode = _NORMAL
        self.reason = ""
        # The code and the reason with which the client has closed the connection itself.
        self.peer: tuple[int, str] | None = None
        self.handle: ConnectionHandle | None = None  # made by the first that asks for it
        self._goodbye: Frame | None = None  # in the pond format
        self._leave_work: Sequence[Work] = ()
        self._ended: anyio.Event | None = None  # made by the first `wait`

    def advance(self, event: LifeEvent) -> bool:
        """Enter the state that follows. False if the event changes nothing in this one."""
        following = LIVES.get((self.life, event))
        if following is None:
            return False
        self.life = following
        return True

    def announce_restart(self, session: S, seconds: float) -> bool:
        """Tell the client that the server restarts, and when. False: it is told, or not served."""
        if not self.advance(LifeEvent.RESTART):
            return False
        # Translated on its way, where a codec may fail: a drain tells one client after another.
        session.send_frame(restart_frame(session.environment.restart, math.ceil(seconds * 1_000)))
        return True

    def close(self, session: S, code: CloseCode, reason: str) -> bool:
        """End the memberships, and keep what the client is told. False if it is closed already.

        Raises:
            EncodingError: The reason cannot be written as JSON; nothing has changed.
        """
        if (self.life, LifeEvent.CLOSE) not in LIVES:
            return False
        is_announced = self.life is Life.RESTARTING and code is CloseCode.RESTART
        if code is not CloseCode.NORMAL and not is_announced:
            self._goodbye = Frame.of(replies.goodbye(code, reason, after_ms=0))
            if code is CloseCode.RESTART:
                self._goodbye.with_retry(session.environment.restart.retry_ms())
        self.advance(LifeEvent.CLOSE)
        self.code, self.reason = code, reason
        self._leave_work = self.router.ended(session)
        self._let_go()
        return True

    def fail(self) -> None:
        """Note that the connection, if it is not closed, is ended by this side, and not the client.

        Its task was cancelled: by the server, or by a handler's mistake. With code 1000 the client
        would stay away.
        """
        if self.life in SERVED:
            self.code, self.reason = CloseCode.INTERNAL, "the server failed"
            self._goodbye = Frame.of(replies.goodbye(self.code, self.reason, after_ms=0))

    def end(self, session: S, tasks: Group | None) -> bool:
        """End the connection: no message is read any more. False if it has ended already.

        Args:
            tasks: Runs leave handlers. None: the caller does, by `run_leave_work`.
        """
        is_closed = self.life is Life.CLOSING
        if not self.advance(LifeEvent.END):
            return False
        if not is_closed:
            self._leave_work = self.router.ended(session)
            self._let_go()
        for scope in self.scopes:
            scope.cancel()
        if self.outlet is not None:
            # If the peer is gone or slow, it does not read what is queued.
            abort = not is_closed or self.code is CloseCode.SLOW_CONSUMER
            goodbye = None if self._goodbye is None else self._goodbye.in_format(session.codec)
            self.outlet.end(self.code, self.reason, abort=abort, goodbye=goodbye)
        if tasks is not None and self._leave_work:
            tasks.start_soon(self.run_leave_work)
        return True

    def _let_go(self) -> None:
        # After `ended`, which shows it to the disconnect handler.
        if self.handle is not None:
            let_go(self.handle)

    async def run_leave_work(self) -> None:
        """Run leave handlers, also if the server cancels this task: no other task runs them."""
        while self._leave_work:
            works, self._leave_work = self._leave_work, ()
            with anyio.CancelScope(shield=True):
                await run_all(works)

    def finish(self) -> None:
        """Note that nothing of the connection is left."""
        if self._ended is not None:
            self._ended.set()
        self.outlet = None  # it refers to the session

    async def wait(self, loop: Loop) -> None:
        """Wait for `finish`, if the connection runs."""
        if self.outlet is not None:
            if self._ended is None:
                self._ended = loop.new_event()
            await self._ended.wait()


def restart_frame(restart: Restart, after_ms: int) -> Frame:
    """Return the goodbye of a server that restarts. Streams are told when to come back, too."""
    goodbye = replies.goodbye(CloseCode.RESTART, _RESTARTS, after_ms)
    return Frame.of(goodbye).with_retry(restart.retry_ms())


def restart(session: Connection) -> None:
    """Close a connection whose client knows that the server restarts."""
    session.close(CloseCode.RESTART, _RESTARTS)


async def restart_after(session: Connection, seconds: float) -> None:
    """Close it after so many seconds."""
    await anyio.sleep(seconds)
    restart(session)


def try_to_end(session: Connection, end: Callable[[], T]) -> T | None:
    """End one of many connections. The others are to end, too, if that fails: it returns None."""
    try:
        return end()
    except Exception as error:  # noqa: BLE001 - boundary: one connection
        text = "The end of a connection failed (user=%r)."
        safe_log.write(_log, logging.ERROR, text, session.user_id, failure=error)
        return None
