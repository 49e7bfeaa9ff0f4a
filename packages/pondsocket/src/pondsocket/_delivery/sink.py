"""What frames are offered to: the interfaces of a transport's outlet, and of a member."""

from collections.abc import Callable
from typing import Protocol

from pondsocket_common import CloseCode

from .frame import Batch, Frame


class Outlet(Protocol):
    """What a transport gives to a session to write to."""

    @property
    def pending(self) -> int:
        """How many frames it has accepted and not yet written."""
        ...

    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame, without waiting. False if it is full or has ended.

        It is full only after it has dropped what may be dropped (`BoundedQueue`).
        """
        ...

    def offer_batch(self, batch: Batch) -> bool:
        """Write or queue all frames of a batch, in order. False if not all were accepted."""
        ...

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, for a caller that has much to send and must leave room for live events.

        Returns:
            False if it would be less than half full with `size` more bytes. Otherwise True: it
            calls back once, when it has written enough to ask again.
        """
        ...

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Write what is queued, then `goodbye`, and close. Idempotent.

        With `abort` the queue is dropped, and `goodbye` is sent only if that needs no waiting.
        """
        ...


class Sink(Protocol):
    """What frames are offered to: a member, or a connection. Only `batching` offers to it.

    All other code calls `send`, which goes behind what waits for the sink.
    """

    def offer(self, frame: Frame) -> bool:
        """Accept a frame, without waiting. False if it cannot, so that it is a slow consumer."""
        ...

    def offer_batch(self, batch: Batch) -> bool:
        """Accept several frames. False if not all of them were accepted."""
        ...

    def overflow(self) -> None:
        """End the connection of a slow consumer."""
        ...


# In place of `Callable`, as the type of attributes: some type checkers take a `Callable` in a class
# for a method of its instances.


class OffersFrame(Protocol):
    """The method `offer` of a sink."""

    def __call__(self, frame: Frame) -> bool:
        """Accept a frame."""
        ...


class OffersBatch(Protocol):
    """The method `offer_batch` of a sink."""

    def __call__(self, batch: Batch) -> bool:
        """Accept several frames."""
        ...


def offer_each(offer: Callable[[Frame], bool], batch: Batch) -> bool:
    """Offer the frames of a batch one by one, until one is not accepted."""
    return all(map(offer, batch.frames))
