"""The order in which broadcasts are emitted, for every order of answers: pure."""

from itertools import permutations, product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket import PondError, Position
from pondsocket._history.emission import MOST_UNDER_WAY, Emission

ORDERS: Final = [*permutations(range(4))]


def at(offset: int, epoch: str = "e1") -> Position:
    return Position(epoch, offset)


def taken(emission: Emission[int]) -> list[int]:
    """Take all that may be emitted now."""
    found = []
    while (item := emission.take()) is not None:
        found.append(item)
    return found


@pytest.mark.parametrize("first", [1, 8], ids=["the first", "later ones"])
@pytest.mark.parametrize("positions", ORDERS)
@pytest.mark.parametrize("answers", ORDERS)
def test_all_are_emitted_once_and_in_the_order_of_their_positions(
    first: int, positions: tuple[int, ...], answers: tuple[int, ...]
) -> None:
    emission = Emission[int]()
    tickets = [emission.begin() for _ in range(4)]
    emitted = []
    for each in answers:
        offset = first + positions[each]
        emission.answer(tickets[each], at(offset), offset)
        emitted += taken(emission)
    assert emitted == [*range(first, first + 4)]


@pytest.mark.parametrize(("answers", "failing"), [*product(ORDERS, range(4))])
def test_an_append_that_fails_holds_no_other(answers: tuple[int, ...], failing: int) -> None:
    emission = Emission[int]()
    tickets = [emission.begin() for _ in range(4)]
    emitted = []
    for each in answers:
        if each == failing:
            emission.fail(tickets[each])
        else:
            emission.answer(tickets[each], at(each + 1), each)
        emitted += taken(emission)
    assert emitted == [each for each in range(4) if each != failing]


def test_the_next_position_is_emitted_at_once_whatever_is_under_way() -> None:
    emission = Emission[int]()
    tickets = [emission.begin() for _ in range(3)]
    for each in range(3):
        emission.answer(tickets[each], at(each + 1), each)
        assert taken(emission) == [each]


def test_a_gap_is_waited_for_only_while_an_append_is_under_way_that_may_fill_it() -> None:
    emission = Emission[int]()
    first, second = emission.begin(), emission.begin()
    emission.answer(second, at(3), 3)
    assert taken(emission) == []
    third = emission.begin()  # begins when 3 is known, so it comes behind it
    emission.answer(first, at(1), 1)
    assert taken(emission) == [1, 3]
    emission.answer(third, at(4), 4)
    assert taken(emission) == [4]


def test_a_position_that_may_be_emitted_is_emitted_with_all_before_it() -> None:
    emission = Emission[int]()
    first, second = emission.begin(), emission.begin()
    emission.answer(second, at(9), 9)
    third, fourth = emission.begin(), emission.begin()
    emission.answer(fourth, at(12), 12)
    emission.fail(first)
    assert taken(emission) == [9]
    emission.answer(third, at(11), 11)
    assert taken(emission) == [11, 12]


def test_a_busy_store_holds_no_broadcast_for_ever() -> None:
    emission = Emission[int]()
    emitted = []
    before = emission.begin()
    for number in range(500):
        ticket = emission.begin()
        emission.answer(before, at(2 * number + 2), number)  # each second position is skipped
        emitted += taken(emission)
        before = ticket
        emission.check_room()
    assert emitted == [*range(499)]


def test_what_is_held_is_emitted_when_another_epoch_begins() -> None:
    emission = Emission[int]()
    tickets = [emission.begin() for _ in range(4)]
    emission.answer(tickets[1], at(7), 7)
    emission.answer(tickets[2], at(1, "e2"), 1)
    assert taken(emission) == [7, 1]
    emission.answer(tickets[3], at(2, "e2"), 2)
    assert taken(emission) == [2]
    emission.answer(tickets[0], at(6), 6)  # late, but not lost
    assert taken(emission) == [6]


def test_one_more_than_may_be_under_way_or_held_is_refused() -> None:
    emission = Emission[int]()
    tickets = []
    for _ in range(MOST_UNDER_WAY):
        emission.check_room()
        tickets.append(emission.begin())
    with pytest.raises(PondError) as failure:
        emission.check_room()
    assert failure.value.code == 503
    emission.answer(tickets[1], at(2), 2)
    with pytest.raises(PondError):
        emission.check_room()
    emission.answer(tickets[0], at(1), 1)
    emission.check_room()
    assert taken(emission) == [1, 2]


@given(st.data())
def test_any_program_emits_all_in_order_and_as_soon_as_that_is_certain(
    data: st.DataObject,
) -> None:
    emission = Emission[int]()
    under_way: list[int] = []
    # What the store has done, by ticket; each answer is known some time after that.
    placed: dict[int, int] = {}
    emitted: list[int] = []
    answered: list[int] = []
    top = 0
    for step in data.draw(st.lists(st.sampled_from(["begin", "place", "answer", "fail", "skip"]))):
        if step == "begin":
            under_way.append(emission.begin())
        elif step == "skip":
            top += 1
        elif step == "place" and (free := [each for each in under_way if each not in placed]):
            top += 1
            placed[data.draw(st.sampled_from(free))] = top
        elif under_way and step in ("answer", "fail"):
            ticket = data.draw(st.sampled_from(under_way))
            under_way.remove(ticket)
            if step == "fail":
                emission.fail(ticket)
                continue
            if ticket not in placed:
                top += 1
            offset = placed.setdefault(ticket, top)
            emission.answer(ticket, at(offset), offset)
            answered.append(offset)
        emitted += taken(emission)
        if not under_way:
            assert sorted(answered) == emitted
    for ticket in under_way:
        emission.fail(ticket)
    assert emitted + taken(emission) == sorted(answered)
