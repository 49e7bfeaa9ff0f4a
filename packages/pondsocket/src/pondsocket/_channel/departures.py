"""Leaves that are held back for a moment, because the client may reconnect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pondsocket._environment import Environment
from pondsocket._runtime.tasks import Work
from pondsocket._runtime.timers import Spawn, Timers
from pondsocket._state.user import LeaveReason, User

from .member import Member, MemberChannel

C = TypeVar("C", bound=MemberChannel)


@dataclass(frozen=True, slots=True)
class Departure(Generic[C]):
    """A membership that has ended, while others may not have been told."""

    member: Member[C]
    user: User
    reason: LeaveReason


class Departures(Generic[C]):
    """The held-back leaves of one channel.

    Args:
        find_host: Returns a function that starts a task for the leave's work; None: there is none.

    Attributes:
        held_back: The leaves, by user.
    """

    __slots__ = ("_environment", "_find_host", "_timers", "held_back")

    def __init__(
        self,
        environment: Environment,
        timers: Timers,
        find_host: Callable[[], Spawn | None],
    ) -> None:
        self._environment = environment
        self._timers = timers
        self._find_host = find_host
        self.held_back: dict[str, Departure[C]] = {}

    def hold_back(
        self, departure: Departure[C], finish: Callable[[Departure[C]], Work | None]
    ) -> bool:
        """Hold a leave back if the client may reconnect. False if it is final.

        Args:
            finish: Called later, unless `take` is before: tells the others of the leave. Returns
                what is left to do, to be awaited.
        """
        delay = self._environment.options.presence_leave_delay
        member = departure.member
        if (
            delay <= 0
            or departure.reason is not LeaveReason.CONNECTION_CLOSED
            or not member.session.is_user_known
            or not member.session.may_return
        ):
            return False

        async def end() -> None:
            if self.held_back.get(member.user_id) is departure:
                del self.held_back[member.user_id]
                leave_work = finish(departure)
                if leave_work is not None:
                    # In a task of its own, so that it does not delay other timers.
                    host = self._find_host()
                    if host is None:
                        await leave_work()
                    else:
                        host(leave_work)

        if not self._timers.after(delay, end):
            return False
        self.held_back[member.user_id] = departure
        return True

    def take(self, user_id: str) -> Departure[C] | None:
        """Return a user's leave, which is held back no more. None if there is none."""
        return self.held_back.pop(user_id, None)
