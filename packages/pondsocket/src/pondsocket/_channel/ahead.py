"""A member that has read messages which have not left yet.

Where a store answers late, a member may read a message before it has left: its position is on the
way, or it waits for one before it. When it leaves, the member must not get it again. All else
passes at once. Messages leave in order, so the first behind those that were read ends this.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from pondsocket_common import Position

from pondsocket._delivery.fanout import offer_each
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.ordered import LateFrame

from .owner import Intercept


class Leader(Protocol):
    """The member that is ahead."""

    def offer_below(self, frame: Frame) -> bool:
        """Offer a frame to the sink that the member has when it is live."""
        ...

    def offer_late(self, late: LateFrame) -> bool:
        """Offer that sink a frame that is still to be made."""
        ...

    def end_lead(self) -> None:
        """Note that all messages have left which the member has read."""
        ...


L = TypeVar("L", bound=Leader)


class Ahead(Generic[L]):
    """The sink of a member that is ahead.

    Args:
        read: The position up to which it has read.
    """

    __slots__ = ("_member", "_read")

    def __init__(self, member: L, read: Position) -> None:
        self._member = member
        self._read = read

    def offer(self, frame: Frame) -> bool:
        """Pass a frame on, unless the member has read it. False if it cannot take it."""
        return self._has_read(frame) or self._member.offer_below(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Pass several frames on; see `offer`."""
        return offer_each(self.offer, batch)

    def offer_copy(self, intercept: Intercept[L], frame: Frame) -> bool:
        """Pass on this member's copy of a frame, unless the member has read it."""
        if self._has_read(frame):
            return True
        if intercept.is_late:
            return self._member.offer_late(intercept.make_late(self._member))
        copy = intercept.make(self._member)
        return copy is None or self._member.offer_below(copy)

    def _has_read(self, frame: Frame) -> bool:
        position = frame.position
        # Of another epoch are those that were appended before the store began anew, or after.
        if position is None or position.epoch != self._read.epoch:
            return False
        if position.offset > self._read.offset:
            self._member.end_lead()
            return False
        return True
