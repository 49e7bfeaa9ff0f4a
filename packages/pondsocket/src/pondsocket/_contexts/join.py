"""The context of a join handler."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from threading import get_ident
from typing import Any, Final

import anyio
import anyio.lowlevel
from pondsocket_common import (
    Acknowledged,
    ClientMessage,
    Payload,
    PresenceMode,
    ServerActions,
    ServerMessage,
    SystemEvents,
    dump_json,
    load_json,
)

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._channel.late import read_late
from pondsocket._channel.member import Member
from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._delivery.frame import Frame
from pondsocket._errors import InvalidPayload, UsageError, check_code, readable_text
from pondsocket._history.slice import HistorySlice
from pondsocket._log import about, get_log
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import Admission, AdmissionEvent
from pondsocket._state.patterns import Route
from pondsocket._state.user import LeaveReason, User
from pondsocket._telemetry import safe_log

from .base import ChannelContext
from .decision import Decision

_log: Final = get_log("pondsocket.lobby")
# Globals of their own: before Python 3.12, reading a member of an enum costs 0.3 us.
_ACCEPT: Final = AdmissionEvent.ACCEPT
_ACKNOWLEDGE: Final = SystemEvents.ACKNOWLEDGE
_DIFF: Final = PresenceMode.DIFF
_PENDING: Final = Admission.PENDING
_ABANDONED: Final = Admission.ABANDONED
_ACCEPTED: Final = Admission.ACCEPTED
_ANSWERED: Final = (Admission.ACCEPTED, Admission.REFUSED)
_SYSTEM: Final = ServerActions.SYSTEM


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
        # Does not call the base's, as `EventContext`.
        self.session = session
        self.message = message
        self.route = route
        self.decision: Decision = Decision()
        self._leave_work: Work | None = None
        self._find_channel = find_channel
        self._limit = limit
        self._member: ChannelMember | None = None
        self._assigns: dict[str, Any] = {}

    @property
    def channel(self) -> Channel:
        """The channel that the client asks for."""
        return self._member.channel if self._member is not None else self._find_channel()

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
    def is_accepted(self) -> bool:
        """Whether the join was accepted."""
        return self.decision.state is _ACCEPTED

    @property
    def has_responded(self) -> bool:
        """Whether the client has its answer: the join was accepted or declined."""
        return self.decision.state in _ANSWERED

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
            history: How many of the latest messages the client gets if it recovers nothing; by
                default none, or the latest value of a channel that keeps one (`History(size=1)`).

        Raises:
            EncodingError: The response cannot be written as JSON; the client does not join.
            UsageError: `history` is negative, or the channel has no history.
            PondError: 413: the client wants whole presence lists, and the list is too long.
        """
        loop = self.session.environment.loop
        if get_ident() not in loop.threads:  # as `Loop.check`, without the call
            loop.refuse("accept")
        channel = self.channel
        if response is not None:
            # Now: it may call the application, which may broadcast, or end this connection. Then
            # that is known before the decision, and no member gets a message before its answer.
            response = load_json(dump_json(response))
        preparation = channel.prepare(self.session, self.message.since)
        if preparation is not None:  # its members may be on other nodes
            await preparation
        found = None
        is_gone = self._is_gone()
        # Without a history, nothing happens in between: `tests.benchmarks`, "Connect and join".
        if not is_gone and (channel.channel_history is not None or history is not None):
            read = self._read_history(channel, history)
            found = read if read is None or isinstance(read, HistorySlice) else await read
            is_gone = self._is_gone()
        if is_gone:
            # The client has disconnected, so the rest of the handler is of no use.
            self._limit.cancel()
            await anyio.lowlevel.checkpoint()
        else:
            self._commit(channel, {**self._assigns, **(assigns or {})}, response, found, history)

    def _fields(self) -> dict[str, str]:
        return about(self.session, channel=self.message.channel_name, event="JOIN")

    def _is_gone(self) -> bool:
        """Return whether the client has disconnected before the decision."""
        # What was broadcast before is not for this member, but some may be for this connection. It
        # may be too slow for it, and that must be known before the decision.
        loop_turn = self.session.environment.loop_turn
        if loop_turn.waiting:
            loop_turn.flush()
        if self.decision.state is _PENDING and not self.session.is_open:
            self.decision.advance(AdmissionEvent.VANISH, self._fields)
        return self.decision.state is _ABANDONED

    def _read_history(
        self, channel: Channel, latest: int | None
    ) -> HistorySlice | Awaitable[HistorySlice] | None:
        """Prepare: return what the member may recover, or what to await for it."""
        channel_history = channel.channel_history
        if channel_history is None:
            if latest is not None:
                raise UsageError(f"{channel.name} has no history that `accept` could send.")
            return None
        found = channel_history.read(self.message.since, latest)
        if isinstance(found, HistorySlice):
            return found
        return read_late(channel_history, found, self.message.since, latest)

    def _commit(
        self,
        channel: Channel,
        assigns: dict[str, Any],
        response: object,
        found: HistorySlice | None,
        latest: int | None,
    ) -> None:
        """Commit: make the connection a member. Nothing else has a turn meanwhile."""
        # Everything that may raise comes before the decision: after that, the answer must follow.
        session, message, channel_history = self.session, self.message, channel.channel_history
        wants_diffs = message.presence is _DIFF
        presence = channel.presence
        state = presence.state_for_diffs() if wants_diffs else None
        if state is None and presence.state.byte_count > session.environment.options.outbox_bytes:
            raise presence.list_fault()
        position = None
        if found is None or channel_history is None:
            acknowledged = Acknowledged(response=response, presence=state)
        else:
            start = channel_history.find_start(
                found, message.since, session.user_id, latest, is_user_known=session.is_user_known
            )
            position = start.position
            acknowledged = Acknowledged(*position, start.recovered, response, state)
        answer = ServerMessage(
            _SYSTEM, _ACKNOWLEDGE, channel.name, message.request_id, acknowledged
        )
        frame = Frame.of(answer, session.codec)
        frame.channel, frame.position = channel.name, position
        if not self.decision.advance(_ACCEPT, self._fields):
            return
        self._settle()
        member = self._member = channel.admit(session, assigns, wants_diffs=wants_diffs)
        if position is not None:
            member.keep_params(self.join_params)
        member.acknowledge(frame)
        if state is not None:
            session.charge_bytes(frame.size)
        if member.is_returning and not wants_diffs:
            # Its presence has not changed, so no change will bring it the list.
            channel.presence.send_list(member, member.user_id)
        if position is not None and found is not None and channel_history is not None:
            may_be_ahead = channel_history.emission is not None
            member.catch_up(found, position.offset, may_be_ahead=may_be_ahead)
        if _log.logger.isEnabledFor(logging.INFO):  # as `_log`, without a call between
            text = "joined (channel=%r user=%r request=%r path=%r)"
            arguments = channel.name, session.user_id, message.request_id, channel.path
            extra = about(session, channel=channel.name, event="JOIN")
            safe_log.write(_log, logging.INFO, text, *arguments, extra=extra)
        if session.environment.observer is not None:
            session.environment.observer.joined(channel.name, member.as_user(), channel.path)

    async def decline(self, code: int = 403, message: str = "The join was declined.") -> None:
        """Refuse the join. The client is told the code and the message.

        Raises:
            UsageError: The code is not an integer from 0 to 9,999, or the message is not a text.
        """
        self.session.environment.loop.check("decline")
        self.refuse(code, message)
        await self.run_leave_work()

    def refuse(self, code: int, message: str, retry_after_ms: int | None = None) -> None:
        """Refuse the join without waiting; `run_leave_work` does the rest."""
        check_code(code)
        readable_text("decline(code, message): the message", message)
        self._refuse(replies.refused(self.message, code, message, retry_after_ms))

    def refuse_unfit(self, error: InvalidPayload) -> None:
        """Refuse a join whose parameters are not valid."""
        self._refuse(replies.unfit(self.message, error))

    def _refuse(self, answer: ServerMessage) -> None:
        frame = Frame.of(answer, self.session.codec)  # first: it raises if it cannot be encoded
        if not self.decision.advance(AdmissionEvent.DECLINE, self._fields):
            return
        self._settle()
        member = self.session.memberships.get(self.message.channel_name)
        if not isinstance(member, Member):
            self.channel.answer(self.session, frame)
            return
        # A member that asks again and is refused leaves: its membership must not outlive a refusal.
        self._leave_work = member.channel.remove(member, LeaveReason.EVICTED)
        member.send_frame(frame)

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
