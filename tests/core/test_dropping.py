"""What a full queue drops: which frames, in which order, and which never."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket._delivery.dropping import leeway, make_room

from tests.frames import frame_of


@dataclass(frozen=True, eq=False)
class Waiting:
    """A frame, as far as dropping is concerned; each is only equal to itself."""

    channel: str | None = None
    droppable: bool = False
    conflate_key: Hashable = None
    held: int = 10

    def weigh(self) -> int:
        return self.held

    def compact(self) -> None:
        pass


def plain(channel: str = "a", size: int = 10) -> Waiting:
    return Waiting(channel, droppable=True, held=size)


def keyed(key: Hashable, channel: str = "c", size: int = 10) -> Waiting:
    return Waiting(channel, droppable=True, conflate_key=key, held=size)


def unkeyed(channel: str = "c") -> Waiting:
    """Return a broadcast of a lobby that conflates, without a key."""
    return Waiting(channel)


ANSWER = Waiting()


def drop(queued: list[Waiting], newcomer: Waiting, frames: int = 1, size: int = 0) -> list[int]:
    """Return the indices of the frames that make_room drops, and check what it returns."""
    queue = deque(queued)
    freed = make_room(queue, newcomer, frames, size)
    gone = [frame for frame in queued if frame not in queue]
    assert freed == (len(gone), sum(frame.held for frame in gone))
    assert list(queue) == [frame for frame in queued if frame in queue]
    return [queued.index(frame) for frame in gone]


def test_the_oldest_are_dropped_as_many_as_needed() -> None:
    queued = [plain() for _ in range(5)]
    assert drop(queued, plain()) == [0]
    assert drop(queued, plain(), frames=3) == [0, 1, 2]
    assert drop(queued, plain(), frames=0, size=11) == [0, 1]
    assert drop(queued, plain(), frames=1, size=50) == [0, 1, 2, 3, 4]


def test_nothing_is_dropped_where_nothing_is_needed() -> None:
    assert drop([plain(), plain()], plain(), frames=0, size=0) == []
    assert drop([plain(), plain()], plain(), frames=-3, size=-100) == []


def test_what_may_not_be_dropped_stays_wherever_it_stands() -> None:
    queued = [ANSWER, plain(), Waiting(), plain(), Waiting()]
    assert drop(queued, plain(), frames=9) == [1, 3]


def test_less_is_freed_where_the_rest_may_not_go() -> None:
    assert drop([Waiting(), Waiting()], plain()) == []
    assert drop([], plain(), frames=1, size=5) == []


def test_the_newcomers_own_channel_gives_first() -> None:
    queued = [plain("b"), plain("a"), plain("b"), plain("a")]
    assert drop(queued, plain("a")) == [1]
    assert drop(queued, plain("a"), frames=3) == [0, 1, 3]
    assert drop(queued, ANSWER) == [0]


def test_a_newcomer_that_is_never_dropped_itself_still_makes_room() -> None:
    assert drop([plain(), plain()], ANSWER) == [0]
    assert drop([plain(), plain("b")], unkeyed("c")) == [0]


def test_only_what_a_later_one_replaces_is_conflated() -> None:
    queued = [keyed("x"), keyed("y"), keyed("x"), keyed("z")]
    assert drop(queued, keyed("new")) == [0]
    assert drop(queued, keyed("y")) == [0, 1]
    assert drop([keyed("x"), keyed("y")], keyed("z")) == []


def test_the_newcomer_replaces_what_waits_of_its_key() -> None:
    assert drop([keyed("x"), keyed("x"), keyed("y")], keyed("x")) == [0, 1]
    assert drop([keyed("x")], keyed("x", channel="d")) == []


def test_the_same_key_of_another_channel_is_another() -> None:
    assert drop([keyed("x", "c"), keyed("x", "d")], keyed("x", "e")) == []
    assert drop([keyed("x", "c"), keyed("x", "d"), keyed("x", "d")], keyed("y", "c")) == [1]


def test_a_broadcast_without_a_key_neither_replaces_nor_is_replaced() -> None:
    assert drop([unkeyed(), unkeyed()], unkeyed(), frames=2) == []
    assert drop([keyed("x"), keyed("x"), unkeyed()], unkeyed()) == [0]


def test_what_loses_nothing_goes_before_what_does_in_other_channels() -> None:
    assert drop([plain("b"), keyed("x"), keyed("x")], ANSWER) == [1]
    assert drop([plain("b"), keyed("x"), keyed("x")], ANSWER, frames=2) == [0, 1]


def test_the_own_channel_is_conflated_before_another_one_loses() -> None:
    assert drop([plain("b"), keyed("x"), keyed("x")], keyed("z")) == [1]
    assert drop([plain("b"), keyed("x"), keyed("y")], keyed("z")) == [0]


def test_the_bytes_of_a_large_newcomer_are_freed_of_many_small_ones() -> None:
    queued = [plain(size=1) for _ in range(100)]
    assert drop(queued, plain(size=64), frames=1, size=64) == list(range(64))


def test_frames_of_the_real_kind_are_taken() -> None:
    frames = [frame_of(b"{}") for _ in range(3)]
    frames[1].droppable, frames[1].channel = True, "/a"
    queue = deque(frames)
    assert make_room(queue, frame_of(b"{}"), 1, 0) == (1, 2)
    assert list(queue) == [frames[0], frames[2]]


# --- against a model --------------------------------------------------------------------------

# One channel has one policy: "a" and "b" drop the oldest, "c" and "d" conflate, None is closed.
sizes = st.integers(1, 5)
waiting = st.one_of(
    st.builds(plain, st.sampled_from("ab"), sizes),
    st.builds(keyed, st.sampled_from("xyz"), st.sampled_from("cd"), sizes),
    st.builds(unkeyed, st.sampled_from("cd")),
    st.builds(Waiting, held=sizes),
)


def expected(queued: list[Waiting], newcomer: Waiting, frames: int, size: int) -> list[Waiting]:
    """Return what stays: the same rules, as slowly and as plainly as they can be written."""
    kept = list(queued)

    def enough() -> bool:
        freed = [frame for frame in queued if frame not in kept]
        return len(freed) >= frames and sum(frame.held for frame in freed) >= size

    def is_superseded(frame: Waiting) -> bool:
        later = [*queued[queued.index(frame) + 1 :], newcomer]
        return frame.conflate_key is not None and any(
            other.droppable
            and (other.channel, other.conflate_key) == (frame.channel, frame.conflate_key)
            for other in later
        )

    for is_own in (True, False):
        if is_own and newcomer.channel is None:
            continue
        mine = [f for f in queued if f.droppable and (f.channel == newcomer.channel) is is_own]
        # Even where nothing is needed: it is asked only of an outbox that is full.
        if not enough() or (is_own and newcomer.channel in ("c", "d")):
            for frame in [f for f in mine if is_superseded(f)]:
                kept.remove(frame)
        for frame in [f for f in mine if f.conflate_key is None]:
            if not enough():
                kept.remove(frame)
    return kept


@given(st.lists(waiting, max_size=25), waiting, st.integers(-2, 10), st.integers(-5, 40))
def test_it_does_what_the_rules_say(
    queued: list[Waiting], newcomer: Waiting, frames: int, size: int
) -> None:
    queue = deque(queued)
    freed = make_room(queue, newcomer, frames, size)

    assert list(queue) == expected(queued, newcomer, frames, size)
    gone = [frame for frame in queued if frame not in queue]
    assert freed == (len(gone), sum(frame.held for frame in gone))
    assert all(frame.droppable for frame in gone)
    # A client that reads it all in the end has the latest of every key.
    latest = {
        (f.channel, f.conflate_key): f for f in [*queued, newcomer] if f.conflate_key is not None
    }
    assert all(frame in queue or frame is newcomer for frame in latest.values())


@pytest.mark.parametrize("keys", [0, 100])
@given(st.data())
def test_an_outbox_that_always_makes_room_keeps_its_bound(keys: int, data: st.DataObject) -> None:
    queue: deque[Waiting] = deque()
    numbers = data.draw(st.lists(st.integers(0, 3), max_size=60))
    for number in numbers:
        newcomer = keyed(number) if keys else plain()
        if len(queue) >= 5:
            assert make_room(queue, newcomer, len(queue) - 4, 0).frames >= 1
        queue.append(newcomer)
        assert len(queue) <= 5


# --- with as many keys as there is room for ---------------------------------------------------


class Outlet:
    """The least that one has to do; counts the frames that are looked at."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.queue: deque[Waiting] = deque()
        self.looks = 0

    def offer(self, newcomer: Waiting) -> bool:
        excess = len(self.queue) + 1 - self.bound
        if excess > leeway(newcomer, self.bound):
            self.looks += len(self.queue)
            if make_room(self.queue, newcomer, excess, 0).frames < excess:
                return False
        self.queue.append(newcomer)
        return True


def test_only_a_frame_with_a_key_has_leeway() -> None:
    assert leeway(keyed("x"), 1_024) == 128
    assert leeway(keyed("x"), 7) == 0
    assert leeway(plain(), 1_024) == leeway(unkeyed(), 1_024) == leeway(ANSWER, 1_024) == 0


@given(st.lists(st.integers(0, 15), max_size=200), st.integers(0, 3))
def test_as_many_keys_as_there_is_room_for_are_kept_for_a_peer_that_is_slow(
    numbers: list[int], reads_every: int
) -> None:
    outlet, sent, read = Outlet(16), [], []
    for place, number in enumerate(numbers):
        sent.append(keyed(number))
        assert outlet.offer(sent[-1])
        assert len(outlet.queue) <= 18
        if reads_every and place % (reads_every + 1) == 0:
            read.append(outlet.queue.popleft())
    read += outlet.queue
    assert read == [frame for frame in sent if frame in read]
    assert {frame.conflate_key: frame for frame in read} == {
        frame.conflate_key: frame for frame in sent
    }


def test_more_keys_than_there_is_room_for_do_not_fit() -> None:
    outlet = Outlet(16)
    assert all(outlet.offer(keyed(number)) for number in range(18))
    assert not outlet.offer(keyed(18))
    assert not outlet.offer(ANSWER)


def test_a_newcomer_without_leeway_makes_room_down_to_the_bound() -> None:
    outlet = Outlet(16)
    assert all(outlet.offer(keyed(number % 15)) for number in range(18))
    assert outlet.offer(ANSWER)
    assert len(outlet.queue) == 16


@pytest.mark.parametrize("order", ["in turn", "the same one"])
def test_not_every_newcomer_to_a_full_outbox_takes_a_look_at_all_of_it(order: str) -> None:
    """The other members wait for it: a millisecond for a thousand frames."""
    outlet = Outlet(1_024)
    assert all(outlet.offer(keyed(number)) for number in range(1_024))
    newcomers = 10_000
    for number in range(newcomers):
        assert outlet.offer(keyed(number % 1_024 if order == "in turn" else 0))
    assert outlet.looks <= 9.1 * newcomers
