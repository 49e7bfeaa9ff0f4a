"""A membership, and what a channel asks of the lobby that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from pondsocket_common import Payload, ServerMessage

from ._delivery import Chain, LateFrame, push_each
from ._environment import Environment, Work
from ._frames import Batch, Frame
from ._gate import Gate
from ._identity import LeaveReason, User
from ._session import Session
from ._session_owner import Line
from ._slow_consumers import SlowConsumers
from ._state.histories import Histories
from ._state.history import HistoryLog

if TYPE_CHECKING:
    from ._channel import Channel


@dataclass(frozen=True, slots=True)
class Departure:
    """A membership that has just ended."""

    channel: Channel
    user: User
    reason: LeaveReason


class Intercept(Protocol):
    """The outgoing handlers of one event, bound to one broadcast."""

    is_late: bool

    def make(self, member: Member) -> Frame | None:
        """This member's copy; None: it is withheld. For handlers that need not wait."""
        ...

    def make_late(self, member: Member) -> LateFrame:
        """The same for handlers that wait."""
        ...


class ChannelOwner(Protocol):
    """What a channel asks of the lobby that it belongs to."""

    @property
    def environment(self) -> Environment:
        """What the parts of the pond share."""
        ...

    @property
    def chained(self) -> bool:
        """Whether an outgoing handler may wait, so that every member needs a `Chain`."""
        ...

    @property
    def slow_consumers(self) -> SlowConsumers:
        """What becomes of members that read slower than they are sent to."""
        ...

    @property
    def histories(self) -> Histories | None:
        """What its channels have said, where that is kept."""
        ...

    def intercepts(self, event: str) -> bool:
        """Whether there are outgoing handlers of this event."""
        ...

    def intercept(self, channel: Channel, message: ServerMessage, frame: Frame) -> Intercept | None:
        """The outgoing handlers of this event, if there are any."""
        ...

    def left(self, departure: Departure) -> Work | None:
        """A user's last connection has left; what is left to do, if anything."""
        ...


# One object for all who joined with none, or need not come back; nobody changes it.
_NO_PARAMS: Final[Payload] = {}


class Member:
    """One connection's membership in one channel."""

    __slots__ = (
        "assigns",
        "chain",
        "channel",
        "connection_id",
        "gate",
        "is_returning",
        "join_params",
        "push",
        "push_batch",
        "push_through",
        "ref",
        "session",
        "user_id",
        "wants_diffs",
    )

    def __init__(
        self,
        channel: Channel,
        session: Session,
        assigns: dict[str, Any],
        chain: Chain | None,
        ref: str,
        *,
        wants_diffs: bool,
    ) -> None:
        self.channel = channel
        self.session = session
        self.connection_id = session.connection_id
        self.user_id = session.user_id
        self.assigns = assigns
        self.ref = ref
        self.wants_diffs = wants_diffs
        self.chain = chain
        # In the place of one that was lost a moment ago, whose leave was not told.
        self.is_returning = False
        # What it joined with, where it may have to be said again: see `Session.resume`.
        self.join_params = _NO_PARAMS
        self.gate: Gate | None = None
        line = self._line
        self.push_through: Callable[[Frame], bool] = line.push
        self.push: Callable[[Frame], bool] = self.push_through
        self.push_batch: Callable[[Batch], bool] = line.push_batch

    @property
    def _line(self) -> Line:
        return self.session.line if self.chain is None else self.chain

    def send(self, frame: Frame) -> None:
        """Send a frame of this channel, behind those already on their way."""
        channel = self.channel
        # No call where nothing waits: microbench.py, "event, the handler replies; core".
        if channel.presence.log:
            channel.presence.flush()
        turn = channel.gathering.turn
        if turn.rooms:  # else nothing waits anywhere, and there is nothing to ask
            if self.is_current and channel.gathering.add_own(frame, self):
                return
            turn.flush()
        if not self.push(frame):
            self.overflow()

    def charge(self, faults: int) -> None:
        """Count what a message of so many faults has cost against the client's rates."""
        self.session.charge(faults)

    def acknowledge(self, frame: Frame) -> None:
        """Send the acknowledgement; presence that waits to be told is told after it."""
        if not self.push(frame):
            self.overflow()

    def catch_up(self, log: HistoryLog, offset: int) -> None:
        """Send what the history has after an offset, and only then what is sent from now on."""
        # It may have been too slow for its acknowledgement.
        if offset < log.top and self.is_current:
            self.channel.gathering.hold()
            self.gate = Gate(self, log, offset)
            self.push = self.gate.push
            self.push_batch = self._push_each
            self.gate.read_on()

    def _push_each(self, batch: Batch) -> bool:
        return push_each(self.push, batch)

    def open_gate(self) -> None:
        """It is not behind any more."""
        if self.gate is not None:
            self.gate = None
            self.push = self.push_through
            self.push_batch = self._line.push_batch
            self.channel.gathering.release()

    def depart(self) -> None:
        """It is no member any more: of what is still sent to it, nothing reaches an ended peer."""
        if self.chain is None:
            self.push_through = self.session.push
            if self.gate is None:
                self.push = self.push_through

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """As an outlet's."""
        if self.chain is not None and self.chain.wait_for_room(callback, size):
            return True
        return self.session.wait_for_room(callback, size)

    def overflow(self) -> None:
        """It cannot take what it is sent."""
        self.session.overflow()

    @property
    def is_current(self) -> bool:
        """Whether the membership still holds."""
        return self in self.channel.roster

    def all_assigns(self) -> dict[str, Any]:
        """The membership's assigns, and behind them the connection's."""
        return {**self.session.assigns, **self.assigns}

    def as_user(self) -> User:
        """A snapshot for handlers."""
        shown = self.channel.presence.state.of_user(self.user_id)
        # Read-only: it is the very object that everybody is shown.
        presence = None if shown is None else MappingProxyType(dict(shown))
        return User(self.user_id, self.all_assigns(), presence)


def deliver_copies(intercept: Intercept, recipients: Iterable[Member], *, is_kept: bool) -> None:
    """The same as `deliver`, where outgoing handlers make a copy for each of them."""
    slow: list[Member] = []
    for member in list(recipients):
        if member.gate is not None:
            taken = member.gate.push_copy(intercept, is_kept=is_kept)
        elif intercept.is_late and member.chain is not None:
            taken = member.chain.push_late(intercept.make_late(member))
        else:
            copy = intercept.make(member)
            taken = copy is None or member.push(copy)
        if not taken:
            slow.append(member)
    for member in slow:
        member.overflow()
