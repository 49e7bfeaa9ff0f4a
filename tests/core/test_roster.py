from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from pondsocket._state.roster import Roster


@dataclass(eq=False)
class Tab:
    connection_id: str
    user_id: str


def test_a_user_may_have_several_entries() -> None:
    roster: Roster[Tab] = Roster()
    first, second, other = Tab("1", "ann"), Tab("2", "ann"), Tab("3", "bob")
    for tab in (first, second, other):
        roster.add(tab)

    assert roster.of_user("ann") == [first, second]
    assert roster.of_users(["bob", "ann", "bob", "eve"]) == [other, first, second]
    assert (len(roster), roster.user_count) == (3, 2)
    assert list(roster) == list(roster.everyone()) == [first, second, other]


def test_a_user_is_there_until_the_last_entry_is_removed() -> None:
    roster: Roster[Tab] = Roster()
    first, second = Tab("1", "ann"), Tab("2", "ann")
    roster.add(first)
    roster.add(second)

    assert roster.remove(first)
    assert roster.has_user("ann")
    assert roster.remove(second)
    assert not roster.has_user("ann")
    assert roster.of_user("ann") == []


def test_an_entry_of_the_same_connection_is_replaced() -> None:
    roster: Roster[Tab] = Roster()
    old, new = Tab("1", "ann"), Tab("1", "ann")
    roster.add(old)

    roster.add(new)
    assert list(roster) == [new]
    assert roster.of_user("ann") == [new]


def test_removing_a_replaced_entry_leaves_its_successor() -> None:
    roster: Roster[Tab] = Roster()
    old, new = Tab("1", "ann"), Tab("1", "ann")
    roster.add(old)
    roster.add(new)

    assert not roster.remove(old)
    assert roster.get("1") is new


def test_the_entries_of_a_user_are_a_copy() -> None:
    roster: Roster[Tab] = Roster()
    tabs = [Tab(str(number), "ann") for number in range(3)]
    for tab in tabs:
        roster.add(tab)

    for tab in roster.of_user("ann"):
        roster.remove(tab)

    assert len(roster) == 0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_both_indices_agree_whatever_happens(steps: list[tuple[bool, int]]) -> None:
    roster: Roster[Tab] = Roster()
    model: dict[str, Tab] = {}
    for adds, number in steps:
        tab = Tab(str(number), f"user{number % 3}")
        if adds:
            roster.add(tab)
            model.pop(tab.connection_id, None)
            model[tab.connection_id] = tab
        elif (known := model.pop(tab.connection_id, None)) is not None:
            assert roster.remove(known)

    assert list(roster) == list(model.values())
    users = {tab.user_id for tab in model.values()}
    assert roster.user_count == len(users)
    for user in users:
        assert roster.of_user(user) == [tab for tab in model.values() if tab.user_id == user]
