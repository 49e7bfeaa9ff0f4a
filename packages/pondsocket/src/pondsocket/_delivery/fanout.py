"""Fan-out: the only loop that sends one frame to many members."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .frame import Batch, Frame
from .sink import Sink

K = TypeVar("K", bound=Sink)


def deliver(frame: Frame, sinks: Iterable[Sink]) -> None:
    """Offer a frame to all sinks. Close those that cannot take it, without delaying others."""
    slow = [sink for sink in sinks if not sink.offer(frame)]
    # Only now: a close removes members from the roster that the loop above iterates.
    for sink in slow:
        sink.overflow()


def deliver_batches(batches: Iterable[tuple[Batch, Iterable[Sink]]]) -> None:
    """Offer each batch to its sinks. Close those that cannot take theirs."""
    slow = [sink for batch, sinks in batches for sink in sinks if not sink.offer_batch(batch)]
    # Only when all have theirs: a close sends frames to the others.
    for sink in slow:
        sink.overflow()


def deliver_copies(offer_copy: Callable[[K], bool], sinks: Sequence[K]) -> None:
    """Offer each sink a copy of its own, which `offer_copy` makes; see `deliver`.

    Args:
        sinks: Not a view: making a copy calls the application, which may end a membership.
    """
    slow = [sink for sink in sinks if not offer_copy(sink)]
    for sink in slow:
        sink.overflow()
