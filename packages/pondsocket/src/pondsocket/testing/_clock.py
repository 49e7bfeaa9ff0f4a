"""A clock that only a test moves."""

from pondsocket._errors import UsageError


class FakeClock:
    """A clock that only a test moves: `PondSocket(clock=FakeClock())`.

    Args:
        now: Seconds that it starts at.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            UsageError: `seconds` is negative or not a number; time does not go back.
        """
        if not seconds >= 0:
            raise UsageError(f"A clock goes forward: advance by 0 s or more, not by {seconds!r}.")
        self._now += seconds
