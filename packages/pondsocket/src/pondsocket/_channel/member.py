"""A membership, and the interface of the lobby that a channel belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from pondsocket_common import ClientMessage, Payload, ServerMessage

from pondsocket._connection.membership import Sink
from pondsocket._connection.session import Session
from pondsocket._delivery.fanout import Chain, LateFrame, offer_each
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._environment import Environment
from pondsocket._history.log import HistoryLog
from pondsocket._history.store import HistoryStore
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, User

from .catch_up import CatchUp

if TYPE_CHECKING:
    from .channel import Channel


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
        """Return this member's copy; None if it is withheld. For handlers that cannot wait."""
        ...

    def make_late(self, member: Member) -> LateFrame:
        """Return this member's copy, to be awaited. For handlers that wait."""
        ...


class ChannelOwner(Protocol):
    """The lobby that a channel belongs to, as far as the channel uses it."""

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
        """The policy for members that read slower than they are sent to."""
        ...

    @property
    def history_store(self) -> HistoryStore | None:
        """The histories of its channels; None if they keep none."""
        ...

    def intercepts(self, event: str) -> bool:
        """Return whether there are outgoing handlers of this event."""
        ...

    def intercept(self, channel: Channel, message: ServerMessage, frame: Frame) -> Intercept | None:
        """Return the outgoing handlers of this event; None if there are none."""
        ...

    def left(self, departure: Departure) -> Work | None:
        """Return what is left to do after a user's last connection has left; None if nothing."""
        ...


# One object for all members that joined without parameters, or whose parameters need not be kept
# to join again. It is never changed.
_NO_PARAMS: Final[Payload] = {}


class Member:
    """One connection's membership in one channel."""

    __slots__ = (
        "assigns",
        "catching_up",
        "chain",
        "channel",
        "connection_id",
        "is_returning",
        "join_params",
        "offer",
        "offer_batch",
        "offer_through",
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
        # Whether it replaces a membership whose connection ended a moment ago, and whose leave was
        # held back.
        self.is_returning = False
        # What it joined with, if that may be needed to join again: see `Session.resume`.
        self.join_params = _NO_PARAMS
        self.catching_up: CatchUp | None = None
        sink = self._sink
        self.offer_through: Callable[[Frame], bool] = sink.offer
        self.offer: Callable[[Frame], bool] = self.offer_through
        self.offer_batch: Callable[[Batch], bool] = sink.offer_batch

    @property
    def _sink(self) -> Sink:
        return self.session.sink if self.chain is None else self.chain

    def send(self, frame: Frame) -> None:
        """Send a frame of this channel, behind the frames that are already queued."""
        channel = self.channel
        # No call where nothing waits: microbench.py, "event, the handler replies; core".
        if channel.presence.log:
            channel.presence.flush()
        loop_turn = channel.batching.loop_turn
        if loop_turn.waiting:  # otherwise nothing is batched in any channel
            if self.is_current and channel.batching.add_own(frame, self):
                return
            loop_turn.flush()
        if not self.offer(frame):
            self.overflow()

    def charge(self, request: ClientMessage, error_count: int) -> None:
        """Charge the client's rate limits for a message with this many errors."""
        self.session.charge(request, error_count)

    def acknowledge(self, frame: Frame) -> None:
        """Send the acknowledgement. Presence changes that are not sent yet follow it."""
        if not self.offer(frame):
            self.overflow()

    def catch_up(self, log: HistoryLog, offset: int) -> None:
        """Send what the history has after an offset, and only then new frames."""
        # The acknowledgement may have been too much for a slow consumer, which is then closed.
        if offset < log.top and self.is_current:
            self.channel.batching.pause()
            self.catching_up = CatchUp(self, log, offset)
            self.offer = self.catching_up.offer
            self.offer_batch = self._offer_each
            self.catching_up.read_on()

    def _offer_each(self, batch: Batch) -> bool:
        return offer_each(self.offer, batch)

    def end_catch_up(self) -> None:
        """Return to live delivery: the member has caught up."""
        if self.catching_up is not None:
            self.catching_up = None
            self.offer = self.offer_through
            self.offer_batch = self._sink.offer_batch
            self.channel.batching.unpause()

    def send_by_session(self) -> None:
        """Send through the session from now on: it drops frames after its connection has ended."""
        if self.chain is None:
            self.offer_through = self.session.offer
            if self.catching_up is None:
                self.offer = self.offer_through

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`."""
        if self.chain is not None and self.chain.wait_for_room(callback, size):
            return True
        return self.session.wait_for_room(callback, size)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        self.session.overflow()

    @property
    def is_current(self) -> bool:
        """Whether the membership has not ended."""
        return self in self.channel.roster

    def all_assigns(self) -> dict[str, Any]:
        """Return the connection's assigns, overridden by the membership's."""
        return {**self.session.assigns, **self.assigns}

    def as_user(self) -> User:
        """Return a snapshot of the user, for handlers."""
        shown = self.channel.presence.state.of_user(self.user_id)
        # Read-only: all members are sent the values of this same object.
        presence = None if shown is None else MappingProxyType(dict(shown))
        return User(self.user_id, self.all_assigns(), presence)


def deliver_copies(intercept: Intercept, recipients: Iterable[Member], *, is_kept: bool) -> None:
    """Deliver like `deliver`, with a copy for each recipient from the outgoing handlers."""
    slow: list[Member] = []
    for member in list(recipients):
        if member.catching_up is not None:
            taken = member.catching_up.offer_copy(intercept, is_kept=is_kept)
        elif intercept.is_late and member.chain is not None:
            taken = member.chain.offer_late(intercept.make_late(member))
        else:
            copy = intercept.make(member)
            taken = copy is None or member.offer(copy)
        if not taken:
            slow.append(member)
    for member in slow:
        member.overflow()
