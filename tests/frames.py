"""Frames with a given text, for tests of what is done with frames."""

from pondsocket.adapter import Frame
from pondsocket_common import POND, ServerActions, ServerMessage


def frame_of(text: bytes, event: str = "say") -> Frame:
    """Return the frame of a broadcast that is encoded as `text`."""
    message = ServerMessage(ServerActions.BROADCAST, event, "/room", "1", {})
    return Frame(message, POND, len(text), text)
