"""The lobby that a channel belongs to, as far as the channel uses it."""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from pondsocket_common import ClientMessage, Payload

from pondsocket._delivery.frame import Frame
from pondsocket._delivery.ordered import PendingFrame
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._environment import Environment
from pondsocket._history.store import HistoryStore
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, User

C_contra = TypeVar("C_contra", contravariant=True)
"""The channel; its own module knows this one."""
M_contra = TypeVar("M_contra", contravariant=True)
"""The member."""


class Intercept(Protocol[M_contra]):
    """The outgoing handlers of one event, bound to one broadcast."""

    is_async: bool

    def make(self, member: M_contra) -> Frame | None:
        """Return this member's copy; None if it is withheld. For handlers that cannot wait."""
        ...

    def make_pending(self, member: M_contra) -> PendingFrame:
        """Return this member's copy, to be awaited. For handlers that wait."""
        ...


class Interception(Protocol[M_contra]):
    """The outgoing handlers of one event."""

    def bind(self, payload: Payload, frame: Frame) -> Intercept[M_contra]:
        """Bind them to one broadcast."""
        ...


class EventHandlers(Protocol[M_contra]):
    """The event handlers of a lobby, as far as a member uses them."""

    def handle(
        self,
        sender: M_contra,
        message: ClientMessage,
        params: Mapping[str, str],
        environment: Environment,
    ) -> Coroutine[Any, Any, None] | None:
        """Call the first handler that matches an event. Return the rest of the work, if any."""
        ...

    def is_concurrent(self, event: str, params: Mapping[str, str]) -> bool:
        """Return whether the event's handler is registered as concurrent."""
        ...


class MemberOwner(Protocol[M_contra]):
    """The lobby that a channel belongs to, as far as its members use it."""

    @property
    def environment(self) -> Environment:
        """What the parts of the pond share."""
        ...

    @property
    def events(self) -> EventHandlers[M_contra]:
        """The handlers of its members' events."""
        ...

    @property
    def slow_consumers(self) -> SlowConsumers:
        """The policy for members that read slower than they are sent to."""
        ...

    async def handle_leave(self, member: M_contra, message: ClientMessage) -> None:
        """End a membership as its client asks, and acknowledge it."""
        ...


class ChannelOwner(MemberOwner[M_contra], Protocol[C_contra, M_contra]):
    """The lobby that a channel belongs to."""

    @property
    def has_async_outgoing(self) -> bool:
        """Whether an outgoing handler may wait, so that every member needs an `OrderedDelivery`."""
        ...

    @property
    def history_store(self) -> HistoryStore | None:
        """The histories of its channels; None if they keep none."""
        ...

    @property
    def has_outgoing(self) -> bool:
        """Whether there are outgoing handlers of any event."""
        ...

    def interception(self, event: str) -> Interception[M_contra] | None:
        """Return the outgoing handlers of an event; None if there are none."""
        ...

    def left(self, channel: C_contra, user: User, reason: LeaveReason) -> Work | None:
        """Return what is left to do after a user's last connection has left; None if nothing."""
        ...
