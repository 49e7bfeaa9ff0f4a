"""What a connection asks of the endpoint that admitted it."""

from collections.abc import Coroutine, Hashable
from typing import TYPE_CHECKING, Any, Protocol

from pondsocket_common import ClientMessage, Payload

from ._environment import Work
from ._frames import Batch, Frame

if TYPE_CHECKING:
    from ._session import Session


class Line(Protocol):
    """What takes the frames of a member."""

    def push(self, frame: Frame) -> bool:
        """Take a frame; False: it cannot."""
        ...

    def push_batch(self, batch: Batch) -> bool:
        """Take several; False: not all of them."""
        ...


class Membership(Protocol):
    """A membership in a channel, as far as the connection is concerned."""

    @property
    def join_params(self) -> Payload: ...
    @property
    def wants_diffs(self) -> bool: ...

    def push(self, frame: Frame) -> bool: ...


class SessionOwner(Protocol):
    """What a session asks of the endpoint that admitted it."""

    @property
    def any_concurrent(self) -> bool:
        """Whether any message may have another lane than that of its channel's name."""
        ...

    def lane(self, session: "Session", message: ClientMessage) -> Hashable:
        """The lane of a message: what shares a lane is handled in order, one at a time."""
        ...

    def handle(
        self, session: "Session", message: ClientMessage
    ) -> Coroutine[Any, Any, None] | None:
        """Handle one message, in its lane, as far as it goes without waiting. Never raises.

        Returns:
            What is left to do, to be awaited by the same task.
        """
        ...

    @property
    def supports(self) -> tuple[str, ...] | None:
        """What clients are told that it can do."""
        ...

    def can_resume(self, channel_name: str, others: int) -> bool:
        """Whether a channel may be joined for a client that comes back, besides some others."""
        ...

    def opened(self, session: "Session") -> None:
        """The session is being served."""
        ...

    def join_refused(self, session: "Session", channel_name: str) -> None:
        """A join was refused before it came to its lane; a membership it has ends with that."""
        ...

    def overflowed(self, session: "Session") -> None:
        """The session is a slow consumer; close it."""
        ...

    def dropped(self, session: "Session", frames: int) -> None:
        """Frames were dropped for the session, as its lobbies want it."""
        ...

    def caught_up(self, session: "Session") -> None:
        """Nothing waits to be written to the session any more."""
        ...

    def over(self, session: "Session") -> list[Work]:
        """End the session's memberships; what is left to do is given back, to be awaited."""
        ...
