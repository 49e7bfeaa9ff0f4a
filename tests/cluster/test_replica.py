"""Presence as the engine orders it: versions, gaps, and doubt after the engine has forgotten."""

from __future__ import annotations

import random

import pytest
from pondsocket._replica.replica import Replica
from pondsocket.backplane import Change, Roster
from pondsocket_common import Position

ANN = Change("1", "ann", b"{}")
BOB = Change("2", "bob", b"{}")
LEASE = 10.0


def gone(change: Change) -> Change:
    return change._replace(shown=None)


def filled(*shown: Change, version: int = 5) -> Replica:
    replica = Replica(LEASE)
    replica.numbered.begin_read()
    assert replica.fill(Roster(Position("a", version), shown), 0.0) == [*shown]
    return replica


def read(replica: Replica, *shown: Change, at: Position, now: float = 0.0) -> list[Change]:
    replica.numbered.begin_read()
    return replica.fill(Roster(at, shown), now)


def expire(replica: Replica, start: float, end: float, *, is_up: bool = True) -> list[Change]:
    """Let time pass."""
    told: list[Change] = []
    for step in range(int((end - start) * 4)):
        told += replica.expire(start + (step + 1) / 4, is_up=is_up)
    return told


def test_changes_are_told_in_the_order_of_their_versions() -> None:
    replica = filled(ANN)
    assert replica.take(Position("a", 6), [BOB]) == [BOB]
    assert replica.take(Position("a", 6), [gone(BOB)]) == []  # an old one
    assert replica.take(Position("a", 7), [gone(ANN)]) == [gone(ANN)]
    assert replica.entries() == [BOB]


def test_an_end_that_was_never_shown_is_not_told() -> None:
    replica = filled(ANN)
    assert replica.take(Position("a", 6), [gone(BOB)]) == []


def test_a_gap_is_closed_by_a_roster_and_only_the_difference_is_told() -> None:
    replica = filled(ANN, BOB)
    cid = Change("3", "cid", b"{}")
    assert replica.take(Position("a", 7), [cid]) == []
    assert replica.is_behind
    assert read(replica, BOB, at=Position("a", 6)) == [gone(ANN), cid]
    assert not replica.is_behind
    assert not replica.is_in_doubt


def test_what_another_epoch_does_not_name_is_kept_for_one_lease() -> None:
    replica = filled(ANN, BOB)
    assert read(replica, at=Position("b", 0), now=100.0) == []
    assert replica.is_in_doubt
    assert replica.take(Position("b", 1), [ANN]) == [ANN]  # put again
    assert expire(replica, 100.0, 109.75) == []
    assert expire(replica, 109.75, 110.0) == [gone(BOB)]
    assert not replica.is_in_doubt
    assert replica.entries() == [ANN]


def test_a_doubt_outlives_further_rosters_of_its_epoch() -> None:
    replica = filled(ANN, BOB)
    read(replica, at=Position("b", 0), now=100.0)
    assert expire(replica, 100.0, 105.0) == []
    replica.numbered.suspect()
    assert read(replica, ANN, at=Position("b", 1), now=105.0) == []
    assert expire(replica, 105.0, 109.75) == []
    assert expire(replica, 109.75, 110.0) == [gone(BOB)]


def test_another_restart_begins_another_doubt() -> None:
    replica = filled(ANN)
    read(replica, at=Position("b", 0), now=100.0)
    assert expire(replica, 100.0, 108.0) == []
    assert read(replica, at=Position("c", 0), now=108.0) == []
    assert expire(replica, 108.0, 117.75) == []
    assert expire(replica, 117.75, 118.0) == [gone(ANN)]


def test_a_doubt_waits_while_the_engine_cannot_be_reached() -> None:
    """The other nodes cannot return meanwhile either."""
    replica = filled(ANN)
    read(replica, at=Position("b", 0), now=100.0)
    assert expire(replica, 100.0, 101.0) == []
    assert expire(replica, 101.0, 121.0, is_up=False) == []
    assert expire(replica, 121.0, 129.75) == []
    assert expire(replica, 129.75, 130.0) == [gone(ANN)]


def test_a_process_that_stood_still_doubts_for_longer() -> None:
    replica = filled(ANN)
    read(replica, at=Position("b", 0), now=100.0)
    assert replica.expire(130.0) == []
    assert expire(replica, 130.0, 138.75) == []
    assert expire(replica, 138.75, 139.0) == [gone(ANN)]


def test_an_end_in_another_epoch_ends_the_doubt() -> None:
    replica = filled(ANN)
    read(replica, at=Position("b", 0), now=100.0)
    assert replica.take(Position("b", 1), [gone(ANN)]) == [gone(ANN)]
    assert not replica.is_in_doubt


@pytest.mark.parametrize("seed", range(200))
def test_it_converges_to_the_roster_however_changes_come(seed: int) -> None:
    rand = random.Random(seed)
    shown: dict[str, Change] = {}
    version, wire = 0, list[tuple[Position, list[Change]]]()
    replica, told = Replica(LEASE), dict[str, Change]()

    def tell(changes: list[Change]) -> None:
        for each in changes:
            if each.shown is None:
                del told[each.ref]  # it was told before
            else:
                told[each.ref] = each

    for _ in range(150):
        kind = rand.choice(["change", "change", "push", "push", "lose", "late", "read"])
        if kind == "change":
            ref = str(rand.randrange(6))
            value = rand.choice([None, b"{}", b'{"a":1}'])
            change = Change(ref, f"user{ref}", value)
            if value is None:
                shown.pop(ref, None)
            else:
                shown[ref] = change
            version += 1
            wire.append((Position("a", version), [change]))
        elif kind == "read":
            if replica.is_behind:
                replica.numbered.begin_read()
                roster = Roster(Position("a", version), tuple(shown.values()))
                if wire and rand.random() < 0.5:  # before the answer has come
                    tell(replica.take(*wire.pop(0)))
                tell(replica.fill(roster, 0.0))
        elif wire:
            place = rand.randrange(len(wire)) if kind == "late" else 0
            push = wire.pop(place)
            if kind != "lose":
                tell(replica.take(*push))
    for push in wire:
        tell(replica.take(*push))
    replica.numbered.suspect()
    tell(read(replica, *shown.values(), at=Position("a", version)))
    assert not replica.is_behind
    assert told == shown == {each.ref: each for each in replica.entries()}
