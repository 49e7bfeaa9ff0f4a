"""The bounded queue: what fits, when it is excused, and when it has room again."""

import pytest
from pondsocket.adapter import BoundedQueue, Frame

from tests.frames import frame_of

FRAMES = 4
BYTES = 100


class Queue(BoundedQueue[Frame]):
    """A queue of four frames and 100 bytes that notes what was dropped."""

    def __init__(self) -> None:
        self.dropped: list[int] = []
        super().__init__(FRAMES, BYTES, self.dropped.append)


def frame(size: int = 1) -> Frame:
    return frame_of(b"x" * size)


def droppable(size: int = 1, key: str | None = None) -> Frame:
    made = frame(size)
    made.channel, made.droppable, made.conflate_key = "/room/1", True, key
    return made


def fill(queue: Queue, size: int = 1) -> int:
    """Append until a frame is refused; return how many were accepted."""
    count = 0
    while queue.append(frame(size)):
        count += 1
    return count


def writing() -> Queue:
    queue = Queue()
    queue.begin_writing()
    return queue


def test_a_queue_that_is_written_holds_its_bound_in_frames() -> None:
    queue = writing()
    assert fill(queue) == 4
    assert (queue.frames, queue.bytes) == (4, 4)


def test_a_queue_that_is_written_holds_its_bound_in_bytes() -> None:
    queue = writing()
    assert fill(queue, 40) == 2
    assert queue.append(frame(20))
    assert not queue.append(frame(1))


def test_before_it_is_begun_it_holds_sixteen_times_as_much() -> None:
    assert fill(Queue()) == 64
    assert fill(Queue(), 80) == 20


def test_one_frame_that_is_larger_than_the_bound_passes_alone() -> None:
    queue = writing()
    assert queue.append(frame(1_000))
    assert not queue.append(frame())
    queue.queued.clear()
    queue.wrote(1, 1_000)
    assert queue.append(frame(1_000))


def test_frames_count_until_they_are_written() -> None:
    queue = writing()
    fill(queue)
    queue.queued.popleft()
    assert not queue.append(frame())
    queue.wrote(1, 1)
    assert queue.append(frame())


def test_frames_that_a_send_has_begun_count_too() -> None:
    queue = writing()
    queue.note_begun(3, 3)
    assert fill(queue) == 1
    queue.wrote(3, 3)
    assert queue.frames == 1


def test_what_was_over_the_bound_when_it_was_begun_leaves_the_whole_bound() -> None:
    queue = Queue()
    fill(queue)
    queue.begin_writing()
    assert fill(queue) == 4
    queue.is_writing = False
    queue.queued.clear()
    queue.wrote(queue.frames, queue.bytes)
    queue.begin_writing()
    assert fill(queue) == 4


def test_what_was_within_the_bound_when_it_was_begun_is_not_excused() -> None:
    queue = Queue()
    queue.append(frame())
    queue.begin_writing()
    assert fill(queue) == 3


def test_frames_that_are_taken_count_no_more() -> None:
    queue = Queue()
    first = frame()
    queue.append(first)
    assert queue.take() is first
    assert (queue.frames, queue.bytes) == (0, 0)
    assert fill(queue) == 4


def test_what_is_taken_one_by_one_is_excused_only_while_it_is_over_the_bound() -> None:
    queue = Queue()
    assert fill(queue) == 64
    while queue.frames > 4:
        queue.take()
        assert not queue.append(frame())
    queue.take()
    assert fill(queue) == 1


def test_what_may_be_dropped_makes_room() -> None:
    queue = writing()
    for _ in range(2):
        queue.append(droppable())
    assert fill(queue) == 4
    assert queue.dropped == [1, 1]
    assert queue.has_dropped
    assert queue.frames == len(queue.queued) == 4


def test_a_frame_with_a_key_may_exceed_the_bound_before_frames_are_dropped() -> None:
    queue = BoundedQueue[Frame](16, 1_000, lambda _: None)
    queue.begin_writing()
    assert all(queue.append(droppable(key=str(number % 16))) for number in range(18))
    assert not queue.has_dropped
    assert queue.append(droppable(key="2"))
    assert queue.has_dropped
    assert queue.frames == 16


def test_what_is_cleared_counts_no_more_but_what_a_send_has_begun_does() -> None:
    queue = Queue()
    queue.note_begun(1, 30)
    queue.append(frame(10))
    queue.clear()
    assert not queue.queued
    assert (queue.frames, queue.bytes) == (1, 30)


@pytest.mark.parametrize(("held", "size", "waits"), [(1, 40, False), (1, 50, True), (2, 1, True)])
def test_a_queue_that_would_be_half_full_has_no_room(held: int, size: int, waits: bool) -> None:
    queue = Queue()
    for _ in range(held):
        queue.append(frame())
    assert queue.wait_for_room(lambda: None, size) is waits


def test_an_empty_queue_has_room_for_anything() -> None:
    assert not Queue().wait_for_room(lambda: None, 10 * BYTES)


def test_a_call_for_room_comes_once_at_less_than_a_quarter() -> None:
    queue, called = Queue(), list[int]()
    for _ in range(FRAMES):
        queue.append(frame())
    assert queue.wait_for_room(lambda: called.append(queue.frames), 1)
    for _ in range(FRAMES):
        queue.queued.popleft()
        queue.wrote(1, 1)
    assert called == [0]


def test_of_several_that_wait_another_is_first_the_next_time() -> None:
    queue, called = Queue(), list[str]()

    def wait(name: str) -> None:
        called.append(name)
        queue.append(frame())
        queue.append(frame())
        assert queue.wait_for_room(lambda: wait(name), 1)

    for _ in range(2):
        queue.append(frame())
    for name in "ab":
        assert queue.wait_for_room(lambda name=name: wait(name), 1)  # type: ignore[misc]
    for _ in range(2):
        while queue.frames > 1:
            queue.take()
        queue.take()
        queue.offer_room()
    assert called == ["a", "b", "b", "a"]
