"""Interfaces: of a connection, as its parts use it; and of an endpoint, as a connection uses it."""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pondsocket_common import ClientMessage, CloseCode, Codec, ServerMessage

from pondsocket._delivery.frame import Frame
from pondsocket._environment import Environment
from pondsocket._runtime.tasks import Work

from .membership import Membership
from .overflow import Overflow

S_contra = TypeVar("S_contra", contravariant=True)
"""The connection; its own module knows this one."""


class Connection(Protocol):
    """A connection, as far as its parts use it."""

    @property
    def user_id(self) -> str:
        """Its user."""
        ...

    @property
    def path(self) -> str:
        """The path that it has connected to."""
        ...

    @property
    def environment(self) -> Environment:
        """What the parts of the pond share."""
        ...

    @property
    def memberships(self) -> Mapping[str, Membership]:
        """Its memberships, by channel name."""
        ...

    @property
    def codec(self) -> Codec:
        """Its wire format."""
        ...

    def send(self, message: ServerMessage) -> None:
        """Send a message to the peer."""
        ...

    def send_frame(self, frame: Frame) -> None:
        """Send an encoded message, in any wire format."""
        ...

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the connection."""
        ...

    def spawn(self, work: Work) -> None:
        """Run `work` in a task that is cancelled when the connection ends."""
        ...


class Router(Protocol[S_contra]):
    """Routes the messages of connections, and is told when they open and end."""

    @property
    def overflow(self) -> Overflow:
        """What happens to slow consumers."""
        ...

    @property
    def find_lane(self) -> Callable[[S_contra, ClientMessage], Hashable] | None:
        """Returns the lane of a message. None: the lane of every message is its channel.

        Messages of a lane are handled in order, one at a time.
        """
        ...

    @property
    def handle(self) -> Callable[[S_contra, ClientMessage], Coroutine[Any, Any, None] | None]:
        """Handles one message of a lane, as far as possible without waiting. Never raises.

        It returns the rest of the work, to be awaited by the same task; None if there is none.
        """
        ...

    def serves(self, name: str) -> bool:
        """Return whether a lobby serves channels of this name."""
        ...

    def can_resume(self, channel_name: str, others: int) -> bool:
        """Return whether a reconnecting client may resume a channel, besides `others` channels."""
        ...

    def opened(
        self,
        session: S_contra,
        greeting: Sequence[ServerMessage],
        resumed: tuple[str, ...] | None,
        others: tuple[str, ...] | None,
    ) -> None:
        """Greet a client that is now being served, and register its session.

        Args:
            greeting: What the connection handler has replied.
            resumed, others: The channels that the client resumes, and those that it has to join
                anew; None for a connection that resumes none.
        """
        ...

    def ended(self, session: S_contra) -> list[Work]:
        """End the session's memberships. Return what is left to do, to be awaited."""
        ...
