"""Room in a full outbox: which of the frames that wait are dropped. Pure, but for the queue given.

Only broadcasts of a lobby that says so are droppable; those of the newcomer's own channel go first,
then those of others. A plain droppable frame may go when it is the oldest; one with a conflation
key only when a later one of the same channel and key waits behind it, or is the newcomer.

A stalled member of a busy room is asked for room at every broadcast, which the others wait for
(tests/benchmarks/microbench.py): so what its own channel frees is found without looking further,
and where keys have to be compared, which takes a look at everything, there is a `leeway` first.
"""

from collections import deque
from collections.abc import Hashable
from typing import Final, NamedTuple, Protocol, TypeVar

# With nearly as many keys as there is room for, each newcomer replaces one frame and no more. After
# an eighth more of them a look at everything frees at least that eighth, or the peer does not fit.
_LEEWAY: Final = 8


class Droppable(Protocol):
    """A frame, as far as dropping is concerned."""

    @property
    def size(self) -> int: ...
    @property
    def channel(self) -> str | None: ...
    @property
    def droppable(self) -> bool: ...
    @property
    def conflate_key(self) -> Hashable: ...


class Room(NamedTuple):
    """What dropping has freed."""

    frames: int
    bytes: int


F = TypeVar("F", bound=Droppable)


def leeway(newcomer: Droppable, bound: int) -> int:
    """By how much a newcomer may exceed a bound, in frames or bytes, before room is made for it."""
    return 0 if newcomer.conflate_key is None else bound // _LEEWAY


def make_room(queued: deque[F], newcomer: F, frames: int, size: int) -> Room:
    """Drop frames from `queued` until so many `frames` and bytes are free, or no more may go.

    All frames of one channel are of one kind: they have conflation keys, or they have none.

    Returns:
        What was freed; less than asked for if the rest may not be dropped.
    """
    freed = Room(0, 0)
    if newcomer.channel is not None:  # else nothing that waits is of its channel
        if newcomer.droppable and newcomer.conflate_key is None:
            freed = _drop_oldest(queued, freed, frames, size, newcomer.channel)
        else:
            freed = _drop_superseded(queued, freed, newcomer, newcomer.channel)
    if freed.frames < frames or freed.bytes < size:
        freed = _drop_superseded(queued, freed, newcomer, None)
        freed = _drop_oldest(queued, freed, frames, size, None)
    return freed


def _drop_oldest(
    queued: deque[F], freed: Room, frames: int, size: int, channel: str | None
) -> Room:
    """Drop plain frames, of one channel or (None) of any, until there is room."""
    places: list[int] = []
    freed_frames, freed_bytes = freed
    for place, frame in enumerate(queued):
        if freed_frames >= frames and freed_bytes >= size:
            break
        if (
            frame.droppable
            and frame.conflate_key is None
            and (channel is None or frame.channel == channel)
        ):
            places.append(place)
            freed_frames += 1
            freed_bytes += frame.size
    if len(places) == 1:
        del queued[places[0]]
    elif places:
        gone = set(places)
        kept = [frame for place, frame in enumerate(queued) if place not in gone]
        queued.clear()
        queued.extend(kept)
    return Room(freed_frames, freed_bytes)


def _drop_superseded(queued: deque[F], freed: Room, newcomer: F, channel: str | None) -> Room:
    """Drop what a later one replaces, in one channel or (None) in any.

    All of it at once: a pass over the queue for each newcomer would be paid by the others.
    """
    seen: set[Hashable] = set()  # keys; of any channel, with the channel, which costs to hash
    if newcomer.droppable and newcomer.conflate_key is not None:
        key = newcomer.conflate_key
        seen.add(key if channel is not None else (newcomer.channel, key))
    kept: deque[F] = deque()
    freed_frames, freed_bytes = freed
    for frame in reversed(queued):
        key = frame.conflate_key
        if key is not None and frame.droppable and (channel is None or frame.channel == channel):
            if channel is None:
                key = (frame.channel, key)
            if key in seen:
                freed_frames += 1
                freed_bytes += frame.size
                continue
            seen.add(key)
        kept.appendleft(frame)
    if len(kept) < len(queued):
        queued.clear()
        queued.extend(kept)
    return Room(freed_frames, freed_bytes)
