"""The outlet of a client that takes everything at once."""

from collections.abc import Callable
from typing import Final

from pondsocket.adapter import Batch, Frame
from pondsocket_common import CloseCode


class EndlessOutlet:
    """An outlet that is never full; what it does with a frame is its class's own."""

    pending: Final = 0

    def push(self, frame: Frame) -> bool:
        """Take a frame."""
        raise NotImplementedError

    def offer_batch(self, batch: Batch) -> bool:
        """Take several."""
        return all(map(self.push, batch.frames))

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Return False: there is always room."""
        return False

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Be closed."""
