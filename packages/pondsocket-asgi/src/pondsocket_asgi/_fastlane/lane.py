"""Where the app writes ready-made frames, past uvicorn's `send`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pondsocket.adapter import Session


class Lane:
    """Writes ready-made frames to one peer.

    Attributes:
        is_open: Whether `write` may be called: after the handshake and before any close frame, and
            not while the peer is behind. An aborted transport drops what is written to it.
        write: Writes one or several whole frames of a server.
        receive: The function that the app's `receive` is a method of, if what that is bound to
            has `lend`; else None.
        session: Set by the app: closes the connection of a peer that sends too many small frames.
            Where it is None, the protocol closes it.
    """

    __slots__ = ("is_open", "receive", "session", "write")

    def __init__(
        self, write: Callable[[bytes], object], receive: Callable[..., object] | None = None
    ) -> None:
        self.is_open: bool = False
        self.write: Callable[[bytes], object] = write
        self.receive: Callable[..., object] | None = receive
        self.session: Session | None = None


def nowhere(_frames: bytes) -> None:
    """Drop frames: there is no connection yet, or no longer."""


def end_lane(lane: Lane) -> None:
    """Close a lane for ever. An app may keep it, which would keep the transport."""
    lane.is_open = False
    lane.write = nowhere
    lane.session = None
