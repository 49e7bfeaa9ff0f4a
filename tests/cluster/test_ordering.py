"""A topic's place in the engine's order, against an engine that loses, doubles and delays."""

from __future__ import annotations

import random

import pytest
from pondsocket._replica.ordering import Filled, Ordering
from pondsocket.backplane import Entry, Slice
from pondsocket_common import Position


def entry(offset: int, epoch: str = "a") -> Entry:
    return Entry(offset, f"{epoch}{offset}".encode())


class Engine:
    """What an engine keeps, and what is on its way to the node."""

    def __init__(self, rand: random.Random) -> None:
        self.random = rand
        self.epochs = 1
        self.kept: list[Entry] = []
        self.top = 0
        self.wire: list[tuple[str, int, Entry]] = []

    @property
    def epoch(self) -> str:
        return f"e{self.epochs}"

    def append(self) -> None:
        self.top += 1
        new = entry(self.top, self.epoch)
        self.kept.append(new)
        prev = self.random.choice([0, self.top - 1])
        self.wire.append((self.epoch, prev, new))

    def trim(self) -> None:
        del self.kept[: self.random.randrange(len(self.kept) + 1)]

    def forget(self) -> None:
        self.epochs += 1
        self.kept, self.top = [], 0

    def read(self, since: Position | None) -> Slice:
        entries = self.kept
        begins_after = self.top - len(entries)
        if since is not None and since.epoch == self.epoch and since.offset >= begins_after:
            entries = [each for each in entries if each.offset > since.offset]
        return Slice(self.epoch, self.top, tuple(entries))


class Reader:
    """A node that reads: it checks that each message comes once, in order, or that it is told."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ordering = Ordering()
        self.at: Position | None = None
        self.seen: set[Position] = set()
        self.told = 0
        self.reading: Slice | None = None
        self.is_reading = False

    def take(self, epoch: str, prev: int, new: Entry) -> None:
        if self.ordering.take(epoch, prev, new.offset, new):
            self.deliver(Position(epoch, new.offset), new)

    def deliver(self, position: Position, new: Entry) -> None:
        assert self.at is not None
        assert position == Position(self.at.epoch, self.at.offset + 1)
        assert position not in self.seen
        assert new == entry(position.offset, position.epoch)
        self.seen.add(position)
        self.at = position

    def begin(self) -> None:
        self.ordering.begin_read()
        self.is_reading = True

    def look(self) -> None:
        """Let the engine answer; the answer is on its way."""
        self.reading = self.engine.read(self.ordering.position)

    def fill(self) -> None:
        found, known = self.reading, self.ordering.position
        assert found is not None
        self.reading, self.is_reading = None, False
        filled = self.ordering.fill(found)
        if known is None:
            self.at = Position(found.epoch, found.top)
        elif filled.anew is not None:
            is_lost = found.epoch != known.epoch or found.begins_after > known.offset
            assert is_lost or found.top < known.offset
            self.told += 1
            self.at = filled.anew
        for position, new in filled.entries:
            self.deliver(position, new)


@pytest.mark.parametrize("seed", range(300))
def test_each_message_comes_once_in_order_and_no_gap_is_silent(seed: int) -> None:
    rand = random.Random(seed)
    engine = Engine(rand)
    reader = Reader(engine)
    for _ in range(rand.choice([20, 200])):
        kind = rand.choices(
            ["append", "push", "lose", "double", "late", "trim", "forget", "suspect", "read"],
            [10, 12, 1, 1, 1, 0.5, 0.3, 0.5, 8],
        )[0]
        if kind == "append":
            engine.append()
        elif kind == "trim":
            engine.trim()
        elif kind == "forget":
            engine.forget()
        elif kind == "suspect":
            reader.ordering.suspect()
        elif kind == "read":
            if reader.reading is not None:
                reader.fill()
            elif reader.is_reading:
                reader.look()
            elif reader.ordering.is_behind:
                reader.begin()
        elif engine.wire:
            place = rand.randrange(len(engine.wire)) if kind == "late" else 0
            if kind == "double":
                reader.take(*engine.wire[0])
            elif kind == "lose":
                del engine.wire[0]
            else:
                reader.take(*engine.wire.pop(place))

    while engine.wire:
        reader.take(*engine.wire.pop(0))
    if reader.reading is not None:
        reader.fill()
    reader.ordering.suspect()  # as a new link does: the last pushes may have been lost
    reads = 0
    while reader.ordering.is_behind:
        reader.begin()
        reader.look()
        reader.fill()
        reads += 1
    assert reader.at == reader.ordering.position == Position(engine.epoch, engine.top)
    assert reads <= 2


def began(top: int = 0) -> Ordering:
    ordering = Ordering()
    ordering.begin_read()
    assert ordering.fill(Slice("a", top)) == Filled(None, [])
    return ordering


def test_the_first_read_delivers_only_what_has_come_since() -> None:
    ordering = Ordering()
    assert not ordering.take("a", 0, 3, entry(3))
    ordering.begin_read()
    assert not ordering.take("a", 0, 5, entry(5))
    found = Slice("a", 4, (entry(3), entry(4)))
    assert ordering.fill(found) == Filled(None, [(Position("a", 5), entry(5))])
    assert not ordering.is_behind


def test_what_is_lost_is_told_and_what_is_kept_follows() -> None:
    ordering = began(2)
    ordering.begin_read()
    found = Slice("a", 9, (entry(8), entry(9)))
    expected = [(Position("a", 8), entry(8)), (Position("a", 9), entry(9))]
    assert ordering.fill(found) == Filled(Position("a", 7), expected)


def test_another_epoch_begins_anew_with_all_that_it_keeps() -> None:
    ordering = began(2)
    assert not ordering.take("b", 0, 1, entry(1, "b"))
    assert ordering.is_behind
    ordering.begin_read()
    expected = [(Position("b", 1), entry(1, "b"))]
    assert ordering.fill(Slice("b", 1, (entry(1, "b"),))) == Filled(Position("b", 0), expected)


def test_a_lower_top_begins_anew() -> None:
    ordering = began(5)
    ordering.suspect()
    ordering.begin_read()
    expected = [(Position("a", 3), entry(3))]
    assert ordering.fill(Slice("a", 3, (entry(3),))) == Filled(Position("a", 2), expected)


def test_an_engine_may_leave_offsets_out_if_it_names_the_one_before() -> None:
    ordering = began(5)
    assert ordering.take("a", 5, 9, entry(9))
    assert not ordering.take("a", 8, 12, entry(12))
    assert ordering.is_behind


def test_messages_of_an_epoch_that_had_ended_are_dropped() -> None:
    ordering = began(2)
    assert not ordering.take("old", 0, 7, entry(7, "old"))
    ordering.begin_read()
    assert ordering.fill(Slice("a", 2)) == Filled(None, [])
    assert not ordering.is_behind


def test_a_suspicion_during_a_read_needs_another_read() -> None:
    ordering = began(2)
    ordering.suspect()
    ordering.begin_read()
    ordering.suspect()
    ordering.fill(Slice("a", 2))
    assert ordering.is_behind


def test_what_is_held_has_a_bound_and_is_read_again() -> None:
    ordering = began(0)
    ordering.begin_read()
    for offset in range(2, 1_100):
        assert not ordering.take("a", 0, offset, entry(offset))
    ordering.fill(Slice("a", 1, (entry(1),)))
    assert ordering.is_behind
    ordering.begin_read()
    found = ordering.fill(Slice("a", 1_099, tuple(map(entry, range(2, 1_100)))))
    assert [position.offset for position, _ in found.entries] == [*range(2, 1_100)]
    assert not ordering.is_behind
