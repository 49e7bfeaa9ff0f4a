"""Frames with a given text, for tests of what is done with frames."""

from pondsocket.adapter import Frame
from pondsocket_common import POND, ServerActions, ServerMessage


def frame_of(text: bytes, event: str = "say") -> Frame:
    """Return the frame of a broadcast that is encoded as `text`, and counts as its length."""
    message = ServerMessage(ServerActions.BROADCAST, event, "/room", "1", {})
    frame = Frame(message, POND, len(text), text)
    frame.held = len(text)
    return frame
