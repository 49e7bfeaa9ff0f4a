"""A membership in a channel, as a connection and its endpoint use it."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from pondsocket_common import ClientMessage, Payload

from pondsocket._delivery.frame import Frame
from pondsocket._delivery.sink import OffersFrame
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason


class Membership(ABC):
    """A connection's membership in one channel."""

    __slots__ = ()

    join_params: Payload | None
    wants_diffs: bool
    offer: OffersFrame

    @abstractmethod
    def handle(self, message: ClientMessage) -> Coroutine[Any, Any, None] | None:
        """Handle an event or a leave as far as possible without waiting. Return the rest, if any.

        Never raises.
        """

    @abstractmethod
    def push(self, frame: Frame) -> bool:
        """Send a push of this channel. False if the membership has ended."""

    @abstractmethod
    def is_concurrent(self, message: ClientMessage) -> bool:
        """Return whether an event waits for no other message, nor another message for it."""

    @abstractmethod
    def is_of(self, owner: object) -> bool:
        """Return whether the channel is one of this lobby."""

    @abstractmethod
    def leave(self, reason: LeaveReason) -> Work | None:
        """End the membership. Return what is left to do, to be awaited; None if nothing."""
