"""The interface of the endpoint that has admitted a connection."""

from collections.abc import Coroutine, Hashable
from typing import Any, Protocol, TypeVar

from pondsocket_common import ClientMessage, Payload

from pondsocket._delivery.frame import Frame
from pondsocket._runtime.tasks import Work

S_contra = TypeVar("S_contra", contravariant=True)
"""The connection; its own module knows this one."""


class Membership(Protocol):
    """A membership in a channel, as far as the connection is concerned."""

    @property
    def join_params(self) -> Payload: ...
    @property
    def wants_diffs(self) -> bool: ...

    def offer(self, frame: Frame) -> bool: ...


class SessionOwner(Protocol[S_contra]):
    """The endpoint that has admitted a session, as far as the session uses it."""

    @property
    def any_concurrent(self) -> bool:
        """Whether any message may have another lane than its channel's."""
        ...

    def lane(self, session: S_contra, message: ClientMessage) -> Hashable:
        """Return the lane of a message. Messages of a lane are handled in order, one at a time."""
        ...

    def handle(self, session: S_contra, message: ClientMessage) -> Coroutine[Any, Any, None] | None:
        """Handle one message of a lane, as far as possible without waiting. Never raises.

        Returns:
            The rest of the work, to be awaited by the same task; None if there is none.
        """
        ...

    @property
    def supports(self) -> tuple[str, ...] | None:
        """The features that the endpoint announces to clients; None: none."""
        ...

    def can_resume(self, channel_name: str, others: int) -> bool:
        """Return whether a reconnecting client may resume a channel, besides `others` channels."""
        ...

    def opened(self, session: S_contra) -> None:
        """Register a session that is now being served."""
        ...

    def join_refused(self, session: S_contra, channel_name: str) -> None:
        """End the membership, if any, of a session whose join was refused before its lane."""
        ...

    def overflowed(self, session: S_contra) -> None:
        """Close a session that is a slow consumer."""
        ...

    def dropped(self, session: S_contra, frames: int) -> None:
        """Count frames that were dropped for the session, as its lobbies allow."""
        ...

    def caught_up(self, session: S_contra) -> None:
        """Note that no frame waits any more to be written to the session."""
        ...

    def ended(self, session: S_contra) -> list[Work]:
        """End the session's memberships. Return what is left to do, to be awaited."""
        ...
