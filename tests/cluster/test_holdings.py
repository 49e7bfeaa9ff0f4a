"""What a node has put into the engine."""

from pondsocket._replica.holdings import Holdings
from pondsocket.backplane import Put


def test_it_holds_what_each_membership_shows_last() -> None:
    holdings = Holdings()
    first, second = Put("a", "1", "ann", None), Put("a", "1", "ann", b"{}")
    other = Put("b", "2", "ann", None)
    for put in (first, other, second):
        holdings.put(put)
    assert [*holdings] == [second, other]
    assert holdings.of("a") == [second]
    assert holdings.of("c") == []
    assert len(holdings) == 2


def test_what_has_ended_is_held_no_more() -> None:
    holdings = Holdings()
    holdings.put(Put("a", "1", "ann", None))
    holdings.put(Put("a", "2", "bob", None))
    holdings.drop("a", ("1", "3"))
    holdings.drop("b", ("1",))
    assert [each.ref for each in holdings] == ["2"]
    holdings.drop("a", ("2",))
    assert len(holdings) == 0


def test_it_may_change_while_it_is_read() -> None:
    holdings = Holdings()
    for ref in "123":
        holdings.put(Put("a", ref, "ann", None))
    for put in holdings:
        holdings.drop("a", (put.ref,))
    assert len(holdings) == 0
