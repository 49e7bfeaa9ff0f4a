"""The bound on frames that are not whole messages: pings, pongs and small fragments.

An application sees and counts messages only. Each of these frames costs the server about as much as
a message (`python -m tests.fuzz.cost`).
"""

from typing import Final

from pondsocket.adapter import TokenBucket

# Ten times the default `event_rate`. This many a second cost about 1 % of a core.
RATE: Final = 500.0
# Five seconds of them: 19 messages of 64 KiB at once, from a sender that cuts them into fragments
# of 512 bytes.
BURST: Final = 2_500
# From this size on, fragments are not counted: a message's size bounds their number.
LARGE: Final = 1_024


class SmallFrames:
    """Counts the small frames of one connection.

    Args:
        now: The time, in seconds.

    Attributes:
        awaits_client: Whether no more is read until the client has read the answers to its pings.
    """

    __slots__ = ("_bucket", "_fragments", "awaits_client")

    def __init__(self, now: float) -> None:
        self._bucket = TokenBucket(RATE, BURST, now)
        self._fragments = 0
        self.awaits_client = False

    def take_control(self, now: float) -> bool:
        """Count a ping or a pong; False if it is one too many."""
        return not self._bucket.take(now)

    def take_fragment(self, size: int, now: float, *, is_first: bool) -> bool:
        """Count a fragment of a message; False if it is one too many.

        Args:
            size: Of its payload, in bytes.
            is_first: Whether the message begins with it.
        """
        if is_first:
            self._fragments = 0
        if size >= LARGE:
            return True
        # Counted separately from the rate: a message that never ends would be kept for ever.
        self._fragments += 1
        return self.take_control(now) and self._fragments <= BURST
