"""A membership: one connection in one channel."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from pondsocket_common import (
    POND,
    ClientActions,
    ClientMessage,
    MessageParts,
    Payload,
    Position,
    dump_json,
    encode_server,
    load_json,
)

from pondsocket._connection.membership import Membership
from pondsocket._connection.session import Session
from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.ordered import OrderedDelivery, PendingFrame
from pondsocket._delivery.sink import OffersBatch, OffersFrame, Outlet
from pondsocket._delivery.slow_consumers import Conflate, mark
from pondsocket._history.recovery import Recovery
from pondsocket._history.slice import HistorySlice
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, User

from .ahead import AheadSink
from .catch_up import CatchUp
from .owner import Intercept, Interception, MemberOwner

# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ClientActions.BROADCAST

# One object for all members that joined without parameters, or whose parameters need not be kept
# to join again. It is never changed.
_NO_PARAMS: Final[Payload] = {}
# Twice what the cursor of an event stream takes. Longer ones would only be kept: 64 KiB of them, as
# objects, take megabytes, in each of 128 channels.
_MOST_PARAM_BYTES: Final = 1_024


class MemberState(Enum):
    """The state of a membership.

    AHEAD: it has read messages of the history that are not emitted yet.
    """

    LIVE = auto()
    CATCHING_UP = auto()
    AHEAD = auto()
    ENDED = auto()


# Likewise.
_LIVE: Final = MemberState.LIVE
_ENDED: Final = MemberState.ENDED


class MemberEvent(Enum):
    """What can happen to a membership."""

    FALL_BEHIND = auto()
    CATCH_UP = auto()
    GET_AHEAD = auto()
    END_AHEAD = auto()
    END = auto()


MEMBER_STATES: Final = {
    (MemberState.LIVE, MemberEvent.FALL_BEHIND): MemberState.CATCHING_UP,
    (MemberState.CATCHING_UP, MemberEvent.CATCH_UP): MemberState.LIVE,
    (MemberState.LIVE, MemberEvent.GET_AHEAD): MemberState.AHEAD,
    (MemberState.CATCHING_UP, MemberEvent.GET_AHEAD): MemberState.AHEAD,
    (MemberState.AHEAD, MemberEvent.END_AHEAD): MemberState.LIVE,
    (MemberState.LIVE, MemberEvent.END): MemberState.ENDED,
    (MemberState.CATCHING_UP, MemberEvent.END): MemberState.ENDED,
    (MemberState.AHEAD, MemberEvent.END): MemberState.ENDED,
}


class MemberChannel(Protocol):
    """The channel, as far as its members use it."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def presence(self) -> ChannelPresence: ...
    @property
    def batching(self) -> ChannelBatching: ...
    @property
    def params(self) -> Mapping[str, str]: ...
    @property
    def owner(self) -> MemberOwner[Any]: ...
    def remove(self, member: Any, reason: LeaveReason) -> Work | None: ...
    def interception(self, event: str) -> Interception[Any] | None: ...


C = TypeVar("C", bound=MemberChannel)


class Member(Membership, Generic[C]):
    """One connection's membership in one channel.

    Attributes:
        offer, offer_batch: Those of the sink that it has now: see `_choose_sink`.
        history_sink: That sink while it is catching up or ahead, else None.
    """

    __slots__ = (
        "assigns",
        "channel",
        "connection_id",
        "history_sink",
        "is_returning",
        "join_params",
        "offer",
        "offer_batch",
        "ordered_delivery",
        "ref",
        "session",
        "state",
        "user_id",
        "wants_diffs",
    )

    def __init__(
        self,
        channel: C,
        session: Session,
        assigns: dict[str, Any],
        ordered_delivery: OrderedDelivery | None,
        ref: str | None,
        *,
        wants_diffs: bool,
    ) -> None:
        self.channel: C = channel
        self.session: Session = session
        self.connection_id: str = session.connection_id
        self.user_id: str = session.user_id
        self.assigns: dict[str, Any] = assigns
        self.ref: str | None = ref  # what presence names it by; None until it is tracked
        self.wants_diffs: bool = wants_diffs
        self.ordered_delivery: OrderedDelivery | None = ordered_delivery
        # Whether it replaces a membership whose connection ended a moment ago, and whose leave was
        # delayed.
        self.is_returning: bool = False
        # What it joined with, if that may be needed to join again: see `Session.resume`. None: it
        # is too long for that.
        self.join_params: Payload | None = _NO_PARAMS
        self.history_sink: CatchUp[Member[C]] | AheadSink[Member[C]] | None = None
        self.state: MemberState = _LIVE
        # As `_choose_sink`, without its calls: `python -m tests.benchmarks`, "Connect and join".
        sink = session.sink if ordered_delivery is None else ordered_delivery
        self.offer: OffersFrame = sink.offer
        self.offer_batch: OffersBatch = sink.offer_batch

    # --- its state, and the sink of that state ------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether the membership has not ended."""
        return self.state is not _ENDED

    def _advance(self, event: MemberEvent) -> None:
        self.state = MEMBER_STATES.get((self.state, event), self.state)
        self._choose_sink()

    def _choose_sink(self) -> None:
        # Methods of the sink itself: one of the member would cost a call for each frame.
        if self.history_sink is not None and self.is_current:
            self.offer, self.offer_batch = self.history_sink.offer, self.history_sink.offer_batch
        else:
            live = self._live_sink
            self.offer, self.offer_batch = live.offer, live.offer_batch

    @property
    def _live_sink(self) -> OrderedDelivery | Outlet | Session:
        """The sink of a member that is live, and of a former member."""
        if self.ordered_delivery is not None:
            return self.ordered_delivery
        # A former member's is the session, which drops frames after the end of its connection.
        return self.session.sink if self.is_current else self.session

    def catch_up(self, log: HistorySlice, offset: int, *, may_be_ahead: bool = False) -> None:
        """Send what the history has after an offset, and only then new frames.

        Args:
            may_be_ahead: Whether the history may have messages that are not emitted yet.
        """
        if not self.is_current:
            return  # the acknowledgement was too much for a slow consumer, which is closed
        if offset < log.top:
            channel = self.channel
            channel.batching.pause()
            recovery: Recovery[Frame | PendingFrame] = Recovery(log, offset, self.user_id)
            catch_up: CatchUp[Member[C]] = CatchUp(
                self,
                channel.name,
                log.epoch,
                recovery,
                channel.interception,
                may_be_ahead=may_be_ahead,
            )
            self.history_sink = catch_up
            self._advance(MemberEvent.FALL_BEHIND)
            catch_up.read_on()
        elif may_be_ahead:
            self.history_sink = AheadSink(self, Position(log.epoch, offset))
            self._advance(MemberEvent.GET_AHEAD)

    def end_catch_up(self, ahead_at: Position | None = None) -> None:
        """Note that the member has caught up, or that its membership has ended."""
        if isinstance(self.history_sink, CatchUp):
            self.history_sink = None if ahead_at is None else AheadSink(self, ahead_at)
            self._advance(MemberEvent.CATCH_UP if ahead_at is None else MemberEvent.GET_AHEAD)
            self.channel.batching.unpause()

    def end_ahead(self) -> None:
        """Note that all messages that the member has read are emitted."""
        self.history_sink = None
        self._advance(MemberEvent.END_AHEAD)

    def end(self) -> None:
        """End the membership. Send the frames that wait in its catch-up and are in no history."""
        self._advance(MemberEvent.END)
        if isinstance(self.history_sink, CatchUp):
            self.history_sink.close()  # may end the connection, which is no member by now
        self.history_sink = None

    @property
    def path(self) -> str:
        """The path whose channel it is a member of."""
        return self.channel.path

    def keep_params(self, params: Payload) -> None:
        """Keep what it joined with, if an event stream may join again with it."""
        if params and self.session.request.transport == "sse":
            self.join_params = params if len(dump_json(params)) <= _MOST_PARAM_BYTES else None

    # --- sending ------------------------------------------------------------------------------

    def send(self, message: MessageParts) -> None:
        """Send a message of this channel, behind the frames that are already queued.

        Raises:
            EncodingError: The application's payload cannot be written as JSON.
        """
        # As `Frame.of` and `send_frame`, with no call where nothing waits: most handlers reply
        # (tests/benchmarks/microbench.py, "event, the handler replies; core").
        codec = self.session.codec
        if codec is POND:
            encoded = encode_server(message)
            frame = Frame(message, codec, len(encoded), encoded)
        else:
            frame = Frame.of(message, codec)
        channel = self.channel
        if channel.presence.log or channel.batching.loop_turn.waiting:
            self.send_frame(frame)
        else:
            offer = self.offer  # a call of an attribute costs twice as much as one of a variable
            if not offer(frame):
                self.overflow()

    def send_frame(self, frame: Frame) -> None:
        """Send an encoded message; see `send`."""
        self.channel.presence.flush()
        self.acknowledge(frame)

    def push(self, frame: Frame) -> bool:
        """Send a push of this channel; see `Membership.push`. The lobby's policy applies to it."""
        channel = self.channel
        policy = channel.owner.slow_consumers
        if policy != "close":
            message = frame.message
            is_shown = isinstance(policy, Conflate)
            shown = load_json(cast(bytes, message.payload)) if is_shown else {}
            mark(frame, policy, channel.name, message.event, cast(Payload, shown))
        # Not before: what has made the frame or its key may have ended the membership.
        if not self.is_current:
            return False
        self.send_frame(frame)
        return self.is_current

    def handle(self, message: ClientMessage) -> Coroutine[Any, Any, None] | None:
        """Handle an event or a leave of the client; see `Membership.handle`."""
        channel = self.channel
        owner = channel.owner
        if message.action is _BROADCAST:
            return owner.events.handle(self, message, channel.params, owner.environment)
        return owner.handle_leave(self, message)  # the endpoint handles joins

    def is_concurrent(self, message: ClientMessage) -> bool:
        """Return whether an event waits for no other message, nor another message for it."""
        return self.channel.owner.events.is_concurrent(message.event, self.channel.params)

    def is_of(self, owner: object) -> bool:
        """Return whether the channel is one of this lobby."""
        return self.channel.owner is owner

    def leave(self, reason: LeaveReason) -> Work | None:
        """End the membership. Return what is left to do, to be awaited; None if nothing."""
        return self.channel.remove(self, reason)

    def acknowledge(self, frame: Frame) -> None:
        """Send the acknowledgement. Presence changes that are not sent yet follow it."""
        batching = self.channel.batching
        if not batching.loop_turn.waiting:
            if not self.offer(frame):
                self.overflow()
            return
        if self.is_current:
            batching.send(frame, self)
        else:
            batching.loop_turn.send(frame, self)

    def offer_copy(self, intercept: Intercept[Member[C]], frame: Frame) -> bool:
        """Accept this member's copy of a frame. False if it is a slow consumer."""
        if self.history_sink is not None:
            return self.history_sink.offer_copy(intercept, frame)
        if intercept.is_async:
            return self.offer_pending(intercept.make_pending(self))
        copy = intercept.make(self)
        return copy is None or self.offer(copy)

    def offer_live(self, frame: Frame) -> bool:
        """Accept a frame that the catch-up passes on, before those that it still holds."""
        return self._live_sink.offer(frame)

    def offer_pending(self, pending: PendingFrame) -> bool:
        """Accept a frame that is still to be made. False if the member is a slow consumer."""
        return self.ordered_delivery is None or self.ordered_delivery.offer_pending(pending)

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`."""
        ordered = self.ordered_delivery
        if ordered is not None and ordered.wait_for_room(callback, size):
            return True
        return self.session.wait_for_room(callback, size)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        self.session.overflow()

    # --- for handlers -------------------------------------------------------------------------

    def charge(self, request: ClientMessage, error_count: int) -> None:
        """Charge the client's rate limits for a message with this many errors."""
        self.session.charge(request, error_count)

    def all_assigns(self) -> dict[str, Any]:
        """Return the connection's assigns, overridden by the membership's."""
        return {**self.session.assigns, **self.assigns}

    def as_user(self) -> User:
        """Return a snapshot of the user, for handlers."""
        shown = self.channel.presence.state.of_user(self.user_id)
        # Read-only: all members are sent the values of this same object.
        presence = None if shown is None else MappingProxyType(dict(shown))
        return User(self.user_id, self.all_assigns(), presence)
