"""A member that has read messages of the history before they are emitted.

Where a store answers late, a join may read a message that is not emitted to the members yet: its
position is not known here, or a lower one may still come. When it is emitted, this member must not
get it again. All other frames pass at once. Messages are emitted in the order of their positions,
so the first one that the member has not read ends this state.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pondsocket_common import Position

from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.sink import offer_each

from .catch_up import Reader
from .owner import Intercept

R = TypeVar("R", bound=Reader)


class AheadSink(Generic[R]):
    """The sink of a member that is ahead: it drops the messages that the member has read.

    Args:
        read: The position up to which it has read.
    """

    __slots__ = ("_member", "_read")

    def __init__(self, member: R, read: Position) -> None:
        self._member = member
        self._read = read

    def offer(self, frame: Frame) -> bool:
        """Pass a frame on, unless the member has read it. False if it is a slow consumer."""
        return self._has_read(frame) or self._member.offer_live(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Pass several frames on; see `offer`."""
        return offer_each(self.offer, batch)

    def offer_copy(self, intercept: Intercept[R], frame: Frame) -> bool:
        """Pass on this member's copy of a frame, unless the member has read it."""
        if self._has_read(frame):
            return True
        if intercept.is_async:
            return self._member.offer_pending(intercept.make_pending(self._member))
        copy = intercept.make(self._member)
        return copy is None or self._member.offer_live(copy)

    def _has_read(self, frame: Frame) -> bool:
        position = frame.position
        # Messages of another epoch were appended before the store began anew, or after.
        if position is None or position.epoch != self._read.epoch:
            return False
        if position.offset > self._read.offset:
            self._member.end_ahead()
            return False
        return True
