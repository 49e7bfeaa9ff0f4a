"""Which waiting frames a full queue drops for a new one. Pure, but it changes the given queue.

Only broadcasts are droppable, if their lobby says so. Those of the new frame's own channel are
dropped first, then those of others. Of plain frames, the oldest is dropped first. One with a
conflation key is dropped only if a later frame, or the new one, has the same channel and key.

With a stalled member in a busy channel this runs at every broadcast, and the other members wait for
it (tests/benchmarks/microbench.py). So it looks at other channels only if its own frees too little;
and comparing keys, which takes a pass over the whole queue, happens only after a `leeway`.
"""

from collections import deque
from collections.abc import Hashable
from typing import Final, NamedTuple, Protocol, TypeVar

# With nearly as many keys as the queue has room for, each new frame replaces one frame only. So the
# queue may grow by an eighth: then one pass frees at least that eighth, or the frame does not fit.
_LEEWAY: Final = 8


class Droppable(Protocol):
    """What dropping has to know of a frame."""

    @property
    def held(self) -> int: ...
    def weigh(self) -> int: ...
    def compact(self) -> None: ...
    @property
    def channel(self) -> str | None: ...
    @property
    def droppable(self) -> bool: ...
    @property
    def conflate_key(self) -> Hashable: ...


class Freed(NamedTuple):
    """How much dropping has freed."""

    frames: int
    bytes: int


F = TypeVar("F", bound=Droppable)


def leeway(newcomer: Droppable, bound: int) -> int:
    """Return by how much a new frame may exceed a bound, in frames or bytes, before a drop."""
    return 0 if newcomer.conflate_key is None else bound // _LEEWAY


def make_room(queued: deque[F], newcomer: F, frames: int, size: int) -> Freed:
    """Drop frames until `frames` frames and `size` bytes are free, or no droppable frame is left.

    All frames of one channel are of one kind: they have conflation keys, or they have none.

    Returns:
        What was freed; less than asked for if the rest may not be dropped.
    """
    freed = Freed(0, 0)
    if newcomer.channel is not None:  # None is of no channel, as a reply is
        if newcomer.droppable and newcomer.conflate_key is None:
            freed = _drop_oldest(queued, freed, frames, size, newcomer.channel)
        else:
            freed = _drop_superseded(queued, freed, newcomer, newcomer.channel)
    if freed.frames < frames or freed.bytes < size:
        freed = _drop_superseded(queued, freed, newcomer, None)
        freed = _drop_oldest(queued, freed, frames, size, None)
    return freed


def _drop_oldest(
    queued: deque[F], freed: Freed, frames: int, size: int, channel: str | None
) -> Freed:
    """Drop plain frames, of one channel or (None) of all, until there is room."""
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
            freed_bytes += frame.held
    if len(places) == 1:
        del queued[places[0]]
    elif places:
        gone = set(places)
        kept = [frame for place, frame in enumerate(queued) if place not in gone]
        queued.clear()
        queued.extend(kept)
    return Freed(freed_frames, freed_bytes)


def _drop_superseded(queued: deque[F], freed: Freed, newcomer: F, channel: str | None) -> Freed:
    """Drop every frame that a later one replaces, in one channel or (None) in all.

    All at once: a pass over the queue for each new frame would delay the other members.
    """
    seen: set[Hashable] = set()  # keys; (channel, key) for all channels, which costs more to hash
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
                freed_bytes += frame.held
                continue
            seen.add(key)
        kept.appendleft(frame)
    if len(kept) < len(queued):
        queued.clear()
        queued.extend(kept)
    return Freed(freed_frames, freed_bytes)
