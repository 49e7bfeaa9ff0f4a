"""Leaves that are delayed for a moment, because the client may reconnect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from pondsocket._environment import Environment
from pondsocket._runtime.tasks import Work
from pondsocket._runtime.timers import Spawn, Timers
from pondsocket._state.user import LeaveReason, User

from .member import Member, MemberChannel

C = TypeVar("C", bound=MemberChannel)


@dataclass(frozen=True, slots=True)
class Leave(Generic[C]):
    """A membership that has ended. The other members may not have been told yet."""

    member: Member[C]
    user: User
    reason: LeaveReason


class DelayedLeaves(Generic[C]):
    """The delayed leaves of one channel.

    Args:
        find_host: Returns a function that starts a task for the leave's work; None: there is none.

    Attributes:
        by_user: The leaves, by user id.
    """

    __slots__ = ("_due", "_environment", "_find_host", "_timers", "by_user")

    def __init__(
        self,
        environment: Environment,
        timers: Timers,
        find_host: Callable[[], Spawn | None],
    ) -> None:
        self._environment = environment
        self._timers = timers
        self._find_host = find_host
        self.by_user: dict[str, Leave[C]] = {}
        # When the latest leave is due of each user that has a timer. A user has one timer, however
        # often it comes and goes meanwhile, and a timer keeps no membership.
        self._due: dict[str, float] = {}

    def delay(self, leave: Leave[C], finish: Callable[[Leave[C]], Work | None]) -> bool:
        """Delay a leave if the client may reconnect. False if it is final.

        Args:
            finish: Called after the delay, unless `take` comes first. It tells the others of the
                leave, and returns what is left to do, to be awaited.
        """
        delay = self._environment.options.presence_leave_delay
        member = leave.member
        if (
            delay <= 0
            or leave.reason is not LeaveReason.CONNECTION_CLOSED
            or not member.session.is_user_known
            or not member.session.may_return
        ):
            return False

        user_id = member.user_id
        has_timer = user_id in self._due
        self._due[user_id] = anyio.current_time() + delay
        if not has_timer and not self._start_timer(user_id, delay, finish):
            return False
        self.by_user[user_id] = leave
        return True

    def _start_timer(
        self, user_id: str, delay: float, finish: Callable[[Leave[C]], Work | None]
    ) -> bool:
        async def end() -> None:
            wait = self._due[user_id] - anyio.current_time()
            is_waiting = user_id in self.by_user
            # Left again since the timer began. If nothing can wait any more, it is told now.
            if is_waiting and wait > 0 and self._start_timer(user_id, wait, finish):
                return
            self._due.pop(user_id, None)
            leave = self.by_user.pop(user_id, None)
            leave_work = None if leave is None else finish(leave)
            if leave_work is not None:
                # In a task of its own, so that it does not delay other timers.
                host = self._find_host()
                if host is None:
                    await leave_work()
                else:
                    host(leave_work)

        if self._timers.after(delay, end):
            return True
        self._due.pop(user_id, None)
        return False

    def take(self, user_id: str) -> Leave[C] | None:
        """Remove and return a user's delayed leave. None if there is none."""
        return self.by_user.pop(user_id, None)
