"""The context of a join handler."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.lowlevel
from pondsocket_common import (
    Acknowledged,
    ClientMessage,
    Payload,
    PresenceMode,
    SystemEvents,
)

from pondsocket._channel.channel import Channel
from pondsocket._channel.member import Member
from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._delivery.frame import Frame
from pondsocket._errors import InvalidPayload, UsageError, check_code
from pondsocket._history.recovery import Splice
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import Admission, AdmissionEvent
from pondsocket._state.patterns import Route
from pondsocket._state.user import LeaveReason, User

from .base import ChannelContext
from .decision import Decision

_log: Final = logging.getLogger("pondsocket.lobby")
# Globals of their own: before Python 3.12, reading a member of an enum costs 0.3 us.
_ACCEPT: Final = AdmissionEvent.ACCEPT
_ACKNOWLEDGE: Final = SystemEvents.ACKNOWLEDGE
_DIFF: Final = PresenceMode.DIFF
_PENDING: Final = Admission.PENDING


class JoinContext(ChannelContext):
    """A client asks to join a channel. Decide with `await accept(…)` or `await decline(…)`."""

    def __init__(
        self,
        session: Session,
        message: ClientMessage,
        route: Route,
        find_channel: Callable[[], Channel],
        limit: anyio.CancelScope,
    ) -> None:
        super().__init__(session, message, route)
        self.decision = Decision()
        self._leave_work: Work | None = None
        self._find_channel = find_channel
        self._limit = limit
        self._member: Member | None = None
        self._assigns: dict[str, Any] = {}

    @property
    def channel(self) -> Channel:
        """The channel that the client asks for."""
        return self._member.channel if self._member is not None else self._find_channel()

    @property
    def member(self) -> Member:
        """The membership, after `accept`."""
        if self._member is None:
            raise UsageError("The join is not accepted (yet): write `await ctx.accept()` first.")
        return self._member

    @property
    def event(self) -> str:
        """The name of the event that the client gave."""
        return self.message.event

    @property
    def user(self) -> User:
        """The user that asks."""
        if self._member is not None:
            return self._member.as_user()
        assigns = {**self.session.assigns, **self._assigns}
        return User(self.session.user_id, assigns, None)

    @property
    def join_params(self) -> Payload:
        """The parameters that the client gave."""
        return self.message.payload

    def get_join_params(self) -> Payload:
        """Return the parameters that the client gave."""
        return self.message.payload

    async def accept(
        self,
        assigns: Mapping[str, Any] | None = None,
        *,
        response: object = None,
        history: int | None = None,
    ) -> None:
        """Accept the join. When this returns, the client is a member and has been told so.

        In a channel with history, a client that was away gets what it missed before anything new.

        Args:
            assigns: Server-only data of this membership.
            response: A JSON value for the client, in the acknowledgement.
            history: How many of the latest messages a client gets that recovers nothing; by default
                none, or the latest value of a channel that keeps one (`History(size=1)`).

        Raises:
            EncodingError: The response cannot be written as JSON; the client does not join.
            UsageError: `history` is negative, or the channel has no history.
        """
        # What was broadcast before is not for this member, but some may be for this connection. It
        # may be too slow for it, and that must be known before the decision.
        self.session.environment.loop_turn.flush()
        if self.decision.state is _PENDING and not self.session.is_open:
            self.decision.advance(AdmissionEvent.VANISH)
            # The client has disconnected, so the rest of the handler is of no use.
            self._limit.cancel()
            await anyio.lowlevel.checkpoint()
            return
        # Everything that may raise comes before the decision: after that, the answer must follow.
        own_assigns = {**self._assigns, **(assigns or {})}
        channel = self.channel
        wants_diffs = self.message.presence is _DIFF
        state = channel.presence.told() if wants_diffs else None
        found = self._find_start(channel, history)
        position = found.position if found is not None else None
        acknowledged = Acknowledged(
            epoch=position and position.epoch,
            offset=None if position is None else position.offset,
            recovered=found and found.recovered,
            response=response,
            presence=state,
        )
        name, request_id = self.message.channel_name, self.request_id
        frame = replies.system(_ACKNOWLEDGE, name, acknowledged, request_id)
        frame.channel, frame.position = name, position
        if self.decision.advance(_ACCEPT):
            self._settle()
            member = channel.admit(self.session, own_assigns, wants_diffs=wants_diffs)
            self._member = member
            if position is not None:
                member.join_params = self.join_params
            member.acknowledge(frame)
            if member.is_returning and not wants_diffs:
                # Its presence has not changed, so no change will bring it the list.
                channel.presence.show_again(member, member.user_id)
            if position is not None and channel.channel_history is not None:
                member.catch_up(channel.channel_history.open(), position.offset)
            _log.info(
                "joined (channel=%r user=%r request=%r)", name, self.session.user_id, request_id
            )
            observer = self.session.environment.observer
            if observer is not None:
                observer.joined(name, self._member.as_user())

    def _find_start(self, channel: Channel, latest: int | None) -> Splice | None:
        channel_history, session = channel.channel_history, self.session
        if channel_history is None:
            if latest is not None:
                raise UsageError(f"{channel.name} has no history that `accept` could send.")
            return None
        return channel_history.find_start(
            self.message.since, session.user_id, latest, is_user_known=session.is_user_known
        )

    async def decline(self, code: int = 403, message: str = "The join was declined.") -> None:
        """Refuse the join. The client is told the code and the message."""
        self.refuse(code, message)
        await self.run_leave_work()

    def refuse(self, code: int, message: str) -> None:
        """Refuse the join without waiting; `run_leave_work` does the rest."""
        check_code(code)
        self._refuse(replies.refused(self.message, code, message))

    def refuse_unfit(self, error: InvalidPayload) -> None:
        """Refuse a join whose parameters are not valid."""
        self._refuse(replies.unfit(self.message, error))

    def _refuse(self, frame: Frame) -> None:
        if not self.decision.advance(AdmissionEvent.DECLINE):
            return
        self._settle()
        member = self.session.memberships.get(self.message.channel_name)
        if not isinstance(member, Member):
            self.channel.answer(self.session, frame)
            return
        # A member that asks again and is refused leaves: its membership must not outlive a refusal.
        self._leave_work = member.channel.remove(member, LeaveReason.EVICTED)
        member.send(frame)

    async def run_leave_work(self) -> None:
        """Do what is left to do after a leave, if the refusal has ended a membership."""
        leave_work, self._leave_work = self._leave_work, None
        if leave_work is not None:
            await leave_work()

    async def set_assign(self, key: str, value: object) -> None:
        """Set one assign of this membership; also before `accept`."""
        self._own_assigns()[key] = value

    async def assign(self, assigns: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set several assigns of this membership; also before `accept`."""
        self._own_assigns().update(assigns or {}, **more)

    def _own_assigns(self) -> dict[str, Any]:
        return self._assigns if self._member is None else self._member.assigns

    def _settle(self) -> None:
        # The time limit ends with the decision.
        if self._limit.deadline != math.inf:
            self._limit.deadline = math.inf
        self.session.scopes.pop(self._limit, None)
