"""Catch-up: sends a member that is behind what it missed, from the history.

The rules are in `_history/recovery.py`; this applies them to an outbox that fills and empties.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias, TypeVar

from pondsocket_common import Position

from pondsocket._delivery.frame import Batch, Frame, bytes_held
from pondsocket._delivery.ordered import PendingFrame
from pondsocket._delivery.sink import offer_each
from pondsocket._history.channel_history import decoded
from pondsocket._history.recovery import Recovery, RecoveryEvent, RecoveryState
from pondsocket._history.slice import KeptMessage

from .owner import Intercept, Interception

Item: TypeAlias = KeptMessage | Frame | PendingFrame


class Reader(Protocol):
    """The member that reads the history."""

    def offer_live(self, frame: Frame) -> bool:
        """Offer a frame to the sink that the member has when it is live."""
        ...

    def offer_pending(self, pending: PendingFrame) -> bool:
        """Offer that sink a frame that an `async` outgoing handler still has to make."""
        ...

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask that sink for room, like `Outlet.wait_for_room`."""
        ...

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        ...

    def end_catch_up(self, ahead_at: Position | None = None) -> None:
        """Note that the catch-up has ended.

        Args:
            ahead_at: The position up to which it has read, if it may have read messages that are
                not emitted yet.
        """
        ...

    def end_ahead(self) -> None:
        """Note that all messages that the member has read are emitted."""
        ...


R = TypeVar("R", bound=Reader)


def _bytes_held(item: Item) -> int:
    return bytes_held(len(item.payload)) if isinstance(item, KeptMessage) else item.held


class CatchUp(Generic[R]):
    """The sink of a member that is catching up.

    Args:
        interception: Returns the outgoing handlers of an event; None if there are none.
        may_be_ahead: Whether the history may have messages that are not emitted yet.
    """

    __slots__ = (
        "_channel_name",
        "_epoch",
        "_interception",
        "_may_be_ahead",
        "_member",
        "_next",
        "_recovery",
    )

    def __init__(
        self,
        member: R,
        channel_name: str,
        epoch: str,
        recovery: Recovery[Frame | PendingFrame],
        interception: Callable[[str], Interception[R] | None],
        *,
        may_be_ahead: bool = False,
    ) -> None:
        self._member = member
        self._channel_name = channel_name
        self._epoch = epoch
        self._recovery = recovery
        self._interception = interception
        self._may_be_ahead = may_be_ahead
        # Taken from the history, but there was no room for it yet.
        self._next: Item | None = None

    def offer(self, frame: Frame) -> bool:
        """Hold a frame that comes meanwhile, unless it is in the history and is read from there.

        False if too much is held.
        """
        if frame.position is not None and self._recovery.reads(frame.position):
            return True
        return self._hold(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Hold several frames; see `offer`."""
        return offer_each(self.offer, batch)

    def offer_copy(self, intercept: Intercept[R], frame: Frame) -> bool:
        """Hold a frame that outgoing handlers intercept, unless it is read from the history."""
        if frame.position is not None and self._recovery.reads(frame.position):
            return True
        if intercept.is_async:
            return self._hold(intercept.make_pending(self._member))
        copy = intercept.make(self._member)
        return copy is None or self._hold(copy)

    def _hold(self, frame: Frame | PendingFrame) -> bool:
        frame.compact()
        return self._recovery.hold(frame, frame.weigh())

    def read_on(self) -> None:
        """Pass on as much as there is room for. After the last frame, the catch-up ends."""
        member, recovery = self._member, self._recovery
        recovery.advance(RecoveryEvent.ROOM)
        while recovery.state is RecoveryState.BEHIND:
            item, self._next = self._next or recovery.take(), None
            if item is None:
                break
            # The last item does not ask for room, as a live member's frames do not. Otherwise a
            # latest value could wait here, and be cut from the history by the next value.
            if not recovery.is_at_top and member.wait_for_room(self.read_on, _bytes_held(item)):
                self._next = item
                recovery.advance(RecoveryEvent.FULL)
            elif not self._pass_on(item):
                member.overflow()
                return
        if recovery.state is RecoveryState.LIVE:
            at = Position(self._epoch, recovery.offset)
            member.end_catch_up(at if self._may_be_ahead else None)
        elif recovery.state is RecoveryState.OUTRUN:
            member.overflow()  # the history no longer keeps what it still has to read

    def _pass_on(self, item: Item) -> bool:
        member = self._member
        if isinstance(item, Frame):
            return member.offer_live(item)
        if not isinstance(item, KeptMessage):
            return member.offer_pending(item)
        position = Position(self._epoch, item.offset)
        frame = Frame.broadcast(
            self._channel_name, item.event, item.request_id, item.payload, position
        )
        interception = self._interception(item.event)
        if interception is None:
            return member.offer_live(frame)
        intercept = interception.bind(decoded(item.payload), frame)
        if intercept.is_async:
            return member.offer_pending(intercept.make_pending(member))
        copy = intercept.make(member)
        # The handler may have ended the membership.
        is_over = self._recovery.state is RecoveryState.GONE
        return copy is None or is_over or member.offer_live(copy)

    def close(self) -> None:
        """End with the membership. Pass on only the frames that no history keeps."""
        held: list[Item] = [*self._recovery.leave()]
        if self._next is not None and not isinstance(self._next, KeptMessage):
            held.insert(0, self._next)
        self._member.end_catch_up()
        if not all(map(self._pass_on, held)):
            self._member.overflow()
