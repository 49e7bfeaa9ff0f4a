"""Catch-up: sends a member that is behind what it missed, from the history.

The rules are in `_history/recovery.py`; this applies them to an outbox that fills and empties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pondsocket_common import Position

from pondsocket._delivery.fanout import LateFrame
from pondsocket._delivery.frame import Frame
from pondsocket._history.log import HistoryLog, Kept
from pondsocket._history.recovery import Reading, ReadingEvent, Recovery

if TYPE_CHECKING:
    from .member import Intercept, Member

Item: TypeAlias = Kept | Frame | LateFrame


class CatchUp:
    """Gets the frames of a member that is catching up, instead of its connection."""

    __slots__ = ("_epoch", "_member", "_next", "_recovery")

    def __init__(self, member: Member, log: HistoryLog, offset: int) -> None:
        self._member = member
        self._epoch = log.epoch
        self._recovery: Recovery[Frame | LateFrame] = Recovery(log, offset, member.user_id)
        # Taken from the history, but there was no room for it yet.
        self._next: Item | None = None

    def offer(self, frame: Frame) -> bool:
        """Hold a frame that comes meanwhile, unless it is in the history and is read from there.

        False if too much is held.
        """
        return frame.position is not None or self._recovery.hold(frame, frame.size)

    def offer_copy(self, intercept: Intercept, *, is_kept: bool) -> bool:
        """Hold a frame that outgoing handlers intercept, unless the history keeps it."""
        if is_kept:
            return True
        if intercept.is_late and self._member.chain is not None:
            late = intercept.make_late(self._member)
            return self._recovery.hold(late, late.size)
        copy = intercept.make(self._member)
        return copy is None or self._recovery.hold(copy, copy.size)

    def read_on(self) -> None:
        """Pass on as much as there is room for. After the last frame, the member is live."""
        member, recovery = self._member, self._recovery
        recovery.advance(ReadingEvent.ROOM)
        while recovery.state is Reading.BEHIND:
            item, self._next = self._next or recovery.take(), None
            if item is None:
                break
            # The last item does not ask for room, as a live member's frames do not. Otherwise a
            # latest value could wait here, and be cut from the history by the next value.
            if not recovery.is_at_top and member.wait_for_room(self.read_on, _size(item)):
                self._next = item
                recovery.advance(ReadingEvent.FULL)
            elif not self._pass_on(item):
                member.overflow()
                return
        if recovery.state is Reading.LIVE:
            member.end_catch_up()
        elif recovery.state is Reading.OUTRUN:
            member.overflow()  # the history no longer keeps what it still has to read

    def _pass_on(self, item: Item) -> bool:
        member = self._member
        if isinstance(item, Frame):
            return member.offer_through(item)
        if not isinstance(item, Kept):
            return member.chain is None or member.chain.offer_late(item)
        frame = Frame(item.text, item.event)
        frame.channel, frame.position = member.channel.name, Position(self._epoch, item.offset)
        intercept = member.channel.intercept_kept(frame)
        if intercept is None:
            return member.offer_through(frame)
        if intercept.is_late and member.chain is not None:
            return member.chain.offer_late(intercept.make_late(member))
        copy = intercept.make(member)
        # The handler may have ended the membership.
        return copy is None or member.catching_up is not self or member.offer_through(copy)

    def close(self) -> None:
        """End with the membership. Pass on only the frames that no history keeps."""
        held: list[Item] = [*self._recovery.leave()]
        if self._next is not None and not isinstance(self._next, Kept):
            held.insert(0, self._next)
        self._member.end_catch_up()
        if not all(map(self._pass_on, held)):
            self._member.overflow()


def _size(item: Item) -> int:
    return len(item.text) if isinstance(item, Kept) else item.size
